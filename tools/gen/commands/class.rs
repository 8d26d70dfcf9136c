//! `gen class`

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use langevin::checkpoint::{SavedModel, Which};
use langevin::gpu::Gpu;
use langevin::graph::Resources;
use langevin::inverse::class::{Classes, GuidedScore};
use langevin::models::Weights;
use langevin::models::config::ModelName;
use langevin::score::{ScoreFn, SecondModel};
use langevin::{Error, error};

use super::sample::Sample;
use crate::apart::Input;
use crate::exit::Usage;
use crate::session::Session;

/// What `--help` ends with.
pub const EXAMPLES: &str = "Examples:
  gen class --model runs/mine --classifier runs/classifier --label cat
  gen class --model runs/mine --classifier runs/classifier --label 3 --guidance 2 --seeds 0-63 --out threes.png
  gen train --config mine.toml --set model.name=wideresnet_noise_conditional --data photos/ --out runs/classifier";

// What the command says of itself stands at its variant of `Command`: here the words of `Sample` would come after it.
#[derive(Args)]
pub struct Class {
    #[command(flatten)]
    guide: GuideArgs,
    #[command(flatten)]
    sample: Sample,
}

/// What guides a sampler.
#[derive(Args, Clone)]
pub struct GuideArgs {
    /// The classifier: a work folder of `gen train`, or its checkpoint.
    #[arg(long, value_name = "FILE|DIR", required = true)]
    classifier: PathBuf,
    /// The class: the name of its folder, or its number, counted from 0 in the order of the folders' names.
    #[arg(long, value_name = "NAME|N", required = true)]
    label: String,
    /// Factor of the classifier's gradient: 1 is Bayes' rule, more makes images more typical and less varied.
    #[arg(long, value_name = "F", default_value_t = 1.0)]
    guidance: f64,
}

impl Class {
    pub fn run(self, session: &Session) -> anyhow::Result<()> {
        self.sample.draw(session, Some(&self.guide))
    }
}

/// The first names of a list.
fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "they have no names".into();
    }
    let first: Vec<String> = names.iter().take(10).map(|name| format!("{name:?}")).collect();
    format!("{}{}", first.join(", "), if names.len() > 10 { ", …" } else { "" })
}

/// A classifier on the device, and what is wished for.
pub struct Guide {
    classifier: SavedModel,
    weights: Weights,
    classes: Classes,
    guidance: f64,
    /// What it does, in words.
    pub name: String,
}

impl GuideArgs {
    /// Where the classifier is read from, for the check of results.
    pub fn input(&self) -> Input<'_> {
        Input::Model("--classifier", &self.classifier)
    }

    /// Opens the classifier for batches of `n` images of `saved`.
    pub fn open(&self, saved: &SavedModel, gpu: &Gpu, n: usize, session: &Session) -> anyhow::Result<Guide> {
        if !(self.guidance.is_finite() && self.guidance >= 0.0) {
            return Err(Usage(format!("--guidance {}: it takes 0 or more", self.guidance)).into());
        }
        let classifier = SavedModel::open(&self.classifier, None).context("--classifier")?;
        if let Some(note) = &classifier.note {
            session.say(note);
        }
        self.check(saved, &classifier)?;
        let weights = classifier.upload(gpu, Which::Ema)?;
        let classes = Classes::new(gpu, n, classifier.config.model.num_outputs)?;
        let number = self.number(&classifier)?;
        classes.write(&[number])?;
        let named = classifier.classes.get(number).map_or(String::new(), |name| format!(" ({name:?})"));
        session.say(format_args!(
            "class {number}{named} of {}: {}",
            classifier.config.model.num_outputs,
            listed(&classifier.classes)
        ));
        let name =
            format!("class {number}{named} by {}, guidance {}", self.classifier.display(), self.guidance);
        Ok(Guide { classifier, weights, classes, guidance: self.guidance, name })
    }

    /// The class that `--label` names. A name comes before a number: a folder "2" need not be the third.
    fn number(&self, classifier: &SavedModel) -> langevin::Result<usize> {
        let (names, outputs) = (&classifier.classes, classifier.config.model.num_outputs);
        if let Some(number) = names.iter().position(|name| *name == self.label) {
            return Ok(number);
        }
        match self.label.parse::<usize>() {
            Ok(number) if number < outputs => Ok(number),
            Ok(number) => {
                let problem = format!("the classifier has classes 0 to {}", outputs.saturating_sub(1));
                Err(Error::invalid("--label", number, problem))
            }
            Err(_) if names.is_empty() => {
                let problem = "the classifier was saved without the names of its classes; give the number";
                Err(Error::invalid("--label", &self.label, problem))
            }
            Err(_) => Err(Error::UnknownName {
                kind: "class (`gen inspect` lists those of the classifier)",
                name: self.label.clone(),
                nearest: error::nearest(&self.label, names.iter().map(String::as_str)),
            }),
        }
    }

    /// A classifier says nothing of images that were noised in another way than those it has seen.
    fn check(&self, saved: &SavedModel, classifier: &SavedModel) -> Result<(), Usage> {
        let (ours, theirs) = (&saved.config, &classifier.config);
        let place = self.classifier.display();
        if theirs.model.name != ModelName::Wideresnet {
            return Err(Usage(format!(
                "--classifier {place}: it holds a {}, which is no classifier",
                theirs.model.name
            )));
        }
        let (a, b) = (ours.to_json(), theirs.to_json());
        for key in ["data.image_size", "data.num_channels", "data.centered", "training.sde"] {
            let at = format!("/{}", key.replace('.', "/"));
            let [a, b] = [&a, &b].map(|tree| tree.pointer(&at).map_or("unset".into(), ToString::to_string));
            if a != b {
                return Err(Usage(format!(
                    "--classifier {place}: it was trained with {key} = {b}, the model has {a}"
                )));
            }
        }
        let sde = |c: &langevin::models::Config| {
            langevin::training::sde_of(c).map(|sde| [0.25, 0.5, 1.0].map(|t| sde.marginal_prob(t)))
        };
        let (Ok(a), Ok(b)) = (sde(ours), sde(theirs)) else {
            return Err(Usage(format!("--classifier {place}: its SDE cannot be compared with the model's")));
        };
        let far = |a: f64, b: f64| (a - b).abs() > 1e-6 * a.abs().max(b.abs());
        if a.iter().zip(&b).any(|(a, b)| far(a.mean, b.mean) || far(a.std, b.std)) {
            let problem = "it was trained with other noise levels than the model (model.sigma_min and sigma_max, or beta_min and beta_max)";
            return Err(Usage(format!("--classifier {place}: {problem}")));
        }
        Ok(())
    }
}

impl Guide {
    /// Hands `body` the guided score.
    pub fn with<T>(&self, score: &dyn ScoreFn, body: impl FnOnce(&dyn ScoreFn) -> T) -> T {
        let classifier = SecondModel { network: self.classifier.network.as_ref() };
        body(&GuidedScore { score, classifier: &classifier, guidance: self.guidance })
    }

    /// Adds weights and classes to what a plan needs.
    pub fn resources(&self, others: Resources) -> Resources {
        SecondModel::resources(&self.weights, self.classes.resources(others))
    }
}
