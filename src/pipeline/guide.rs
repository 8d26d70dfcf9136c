//! One class, by the gradient of a classifier.

use std::sync::Arc;

use super::model::Model;
use crate::checkpoint::{SavedModel, Which};
use crate::error::{Error, Result, nearest};
use crate::gpu::Gpu;
use crate::graph::Resources;
use crate::inverse::class::{Classes, GuidedScore};
use crate::models::Weights;
use crate::models::config::ModelName;
use crate::score::{NetworkModel, ScoreFn};

/// A classifier of noisy images, and the class that is wished for (appendix I.1 of Song et al. 2021).
///
/// ```no_run
/// use langevin::gpu::Gpu;
/// use langevin::pipeline::{Guide, Pretrained};
/// use langevin::sampling::solvers::DpmSolverPp;
///
/// # fn main() -> langevin::Result<()> {
/// let gpu = Gpu::open_default()?;
/// let model = Pretrained::open("runs/mine")?.load(&gpu)?;
/// let cats = Guide::new(Pretrained::open("runs/classifier")?.read()?, "cat")?.strength(2.0)?;
/// let images = model.sampler(DpmSolverPp::steps(50)).guided(cats).draw()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Guide {
    classifier: Arc<SavedModel>,
    class: usize,
    strength: f64,
}

impl Guide {
    /// A class of a classifier: the name of its folder, or its number, counted from 0 in the order of the folders' names. A name comes
    /// before a number: a folder "2" need not be the third.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the model is no classifier, or has no class of this number; [`Error::UnknownName`] with the nearest name.
    pub fn new(classifier: SavedModel, class: &str) -> Result<Self> {
        let name = classifier.config.model.name;
        if name != ModelName::Wideresnet {
            return Err(Error::invalid(
                "classifier",
                &classifier.name,
                format!("it holds a {name}, which is no classifier"),
            ));
        }
        let class = number(&classifier, class)?;
        Ok(Self { classifier: Arc::new(classifier), class, strength: 1.0 })
    }

    /// The factor of the classifier's gradient: 1 is Bayes' rule, more makes images more typical and less varied.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a factor that is negative or not finite.
    pub fn strength(mut self, strength: f64) -> Result<Self> {
        if !(strength.is_finite() && strength >= 0.0) {
            return Err(Error::invalid("guidance", strength, "it takes 0 or more"));
        }
        self.strength = strength;
        Ok(self)
    }

    /// The classifier.
    pub fn classifier(&self) -> &SavedModel {
        &self.classifier
    }

    /// The number of the class.
    pub fn class(&self) -> usize {
        self.class
    }

    /// The name of the class, where the classifier was saved with names.
    pub fn class_name(&self) -> Option<&str> {
        self.classifier.classes.get(self.class).map(String::as_str)
    }

    /// What it does, in words: `class 3 ("cat") by runs/classifier, guidance 1`.
    pub fn describe(&self) -> String {
        let named = self.class_name().map_or(String::new(), |name| format!(" ({name:?})"));
        format!("class {}{named} by {}, guidance {}", self.class, self.classifier.name, self.strength)
    }

    /// A classifier says nothing of images that were noised in another way than those it has seen.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the key in which classifier and model differ.
    pub fn check(&self, model: &Model) -> Result<()> {
        let (ours, theirs) = (model.config(), &self.classifier.config);
        let refused = |problem: String| Err(Error::invalid("classifier", &self.classifier.name, problem));
        let (a, b) = (ours.to_json(), theirs.to_json());
        for key in ["data.image_size", "data.num_channels", "data.centered", "training.sde"] {
            let at = format!("/{}", key.replace('.', "/"));
            let [a, b] = [&a, &b].map(|tree| tree.pointer(&at).map_or("unset".into(), ToString::to_string));
            if a != b {
                return refused(format!("it was trained with {key} = {b}, the model has {a}"));
            }
        }
        let (Ok(a), Ok(b)) = (model.sde(), theirs.forward_sde()) else {
            return refused("its SDE cannot be compared with the model's".into());
        };
        let far = |a: f64, b: f64| (a - b).abs() > 1e-6 * a.abs().max(b.abs());
        let differ = |t| {
            let (a, b) = (a.marginal_prob(t), b.marginal_prob(t));
            far(a.mean, b.mean) || far(a.std, b.std)
        };
        if [0.25, 0.5, 1.0].into_iter().any(differ) {
            let problem = "it was trained with other noise levels than the model (model.sigma_min and sigma_max, or beta_min and beta_max)";
            return refused(problem.into());
        }
        Ok(())
    }

    /// The guided score.
    pub(super) fn score<'a>(&'a self, score: &'a dyn ScoreFn) -> GuidedScore<'a> {
        let classifier = NetworkModel::second(self.classifier.network.as_ref());
        GuidedScore { score, classifier, guidance: self.strength }
    }

    /// The classifier's weights and the class on a device, for batches of `n`.
    pub(super) async fn prepare_async(&self, gpu: &Gpu, n: usize) -> Result<PreparedGuide> {
        let weights = self.classifier.upload_async(gpu, Which::Ema).await?;
        let classes = Classes::new(gpu, n, self.classifier.config.model.num_outputs)?;
        classes.write(&[self.class])?;
        Ok(PreparedGuide { weights, classes })
    }
}

/// A classifier and its class on a device.
#[derive(Debug)]
pub(super) struct PreparedGuide {
    weights: Weights,
    classes: Classes,
}

impl PreparedGuide {
    /// Adds them to what a plan needs.
    pub(super) fn resources(&self, others: Resources) -> Resources {
        NetworkModel::second_resources(&self.weights, self.classes.resources(others))
    }
}

fn number(classifier: &SavedModel, label: &str) -> Result<usize> {
    let (names, outputs) = (&classifier.classes, classifier.config.model.num_outputs);
    if let Some(number) = names.iter().position(|name| name == label) {
        return Ok(number);
    }
    match label.parse::<usize>() {
        Ok(number) if number < outputs => Ok(number),
        Ok(number) => {
            let problem = format!("the classifier has classes 0 to {}", outputs.saturating_sub(1));
            Err(Error::invalid("label", number, problem))
        }
        Err(_) if names.is_empty() => {
            let problem = "the classifier was saved without the names of its classes; give the number";
            Err(Error::invalid("label", label, problem))
        }
        Err(_) => Err(Error::UnknownName {
            kind: "class",
            name: label.to_owned(),
            nearest: nearest(label, names.iter().map(String::as_str)),
        }),
    }
}
