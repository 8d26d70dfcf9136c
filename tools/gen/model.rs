//! `--model`, and a sampler for it out of the configuration and the options of the command line.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use langevin::checkpoint::{SavedModel, Which};
use langevin::{Error, error};

use crate::session::Session;
use crate::settings::ConfigArgs;

/// Which model.
#[derive(Args, Clone)]
pub struct ModelArgs {
    /// Weights: a .pth, safetensors or checkpoint file, a work folder of `gen train`, or the name of an embedded model.
    #[arg(long, value_name = "FILE|DIR|NAME")]
    pub model: Option<String>,
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Use the weights as the optimizer left them, not their moving average.
    #[arg(long)]
    pub raw: bool,
}

/// The names that stand for embedded weights.
const EMBEDDED: &[&str] = &["embedded"];

impl ModelArgs {
    /// Opens the model; `--set` is applied to its configuration.
    pub fn open(&self, session: &Session) -> anyhow::Result<SavedModel> {
        let mut saved = match &self.model {
            None => SavedModel::embedded()?,
            Some(name) if Path::new(name).exists() => {
                let config = self.config.named()?.map(|config| self.config.apply(config)).transpose()?;
                SavedModel::open(name, config).context("--model")?
            }
            Some(name) if EMBEDDED.contains(&name.as_str()) => SavedModel::embedded()?,
            Some(name) => return Err(missing(name).into()),
        };
        saved.config = self.config.apply(saved.config)?;
        if let Some(note) = &saved.note {
            session.say(note);
        }
        for warning in saved.config.warnings() {
            session.say(warning);
        }
        Ok(saved)
    }

    /// Which weights.
    pub fn which(&self) -> Which {
        if self.raw { Which::Raw } else { Which::Ema }
    }
}

/// What looks like a path is a missing file, what does not an unknown name.
fn missing(name: &str) -> Error {
    if name.contains(['/', '\\', '.']) {
        return Error::Io { path: PathBuf::from(name), source: std::io::ErrorKind::NotFound.into() };
    }
    let nearest = error::nearest(name, EMBEDDED.iter().copied());
    Error::UnknownName { kind: "model (and there is no such file)", name: name.to_owned(), nearest }
}
