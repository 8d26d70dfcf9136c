//! `--classifier`, `--label`, `--guidance`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use langevin::pipeline::{Guide, Pretrained};

use crate::apart::Input;
use crate::session::Session;

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

/// The first names of a list.
fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "they have no names".into();
    }
    let first: Vec<String> = names.iter().take(10).map(|name| format!("{name:?}")).collect();
    format!("{}{}", first.join(", "), if names.len() > 10 { ", …" } else { "" })
}

impl GuideArgs {
    /// Where the classifier is read from, for the check of results.
    pub fn input(&self) -> Input<'_> {
        Input::Model("--classifier", &self.classifier)
    }

    /// Opens the classifier.
    pub fn open(&self, session: &Session) -> anyhow::Result<Guide> {
        let classifier =
            Pretrained::open(&self.classifier).and_then(Pretrained::read).context("--classifier")?;
        if let Some(note) = &classifier.note {
            session.say(note);
        }
        let outputs = classifier.config.model.num_outputs;
        let guide = Guide::new(classifier, &self.label)?.strength(self.guidance)?;
        let named = guide.class_name().map_or(String::new(), |name| format!(" ({name:?})"));
        let names = listed(&guide.classifier().classes);
        session.say(format_args!("class {}{named} of {outputs}: {names}", guide.class()));
        Ok(guide)
    }
}
