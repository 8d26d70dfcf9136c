//! `--model`, and what every command that runs one shares.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use langevin::checkpoint::{SavedModel, Which};
use langevin::gpu::Gpu;
use langevin::pipeline::{Model, Pretrained};
use langevin::{Error, error};

use crate::apart::Input;
use crate::exit::Usage;
use crate::session::Session;
use crate::settings::ConfigArgs;

/// Which model.
#[derive(Args, Clone)]
pub struct ModelArgs {
    /// Weights: a .pth, safetensors or checkpoint file, a work folder of `gen train`, a diffusers folder, or the name of an embedded model.
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
    /// Reads the model; `--set` is applied to its configuration before the network is built.
    pub fn open(&self, session: &Session) -> anyhow::Result<SavedModel> {
        let mut pretrained = match &self.model {
            None => self.embedded()?,
            Some(name) if Path::new(name).exists() => Pretrained::open(name).context("--model")?,
            Some(name) if EMBEDDED.contains(&name.as_str()) => self.embedded()?,
            Some(name) => return Err(missing(name).into()),
        };
        if let Some(config) = self.config.named()? {
            pretrained = pretrained.config(config);
        }
        for (key, value) in self.config.pairs()? {
            pretrained = pretrained.set(key, value);
        }
        let saved = match &self.model {
            None => pretrained.read()?,
            Some(_) => pretrained.read().context("--model")?,
        };
        if let Some(note) = &saved.note {
            session.say(note);
        }
        saved.check(self.which()).context("--model (--raw takes the raw weights)")?;
        for warning in saved.config.warnings() {
            session.say(warning);
        }
        Ok(saved)
    }

    fn embedded(&self) -> Result<Pretrained, Usage> {
        match self.config.config {
            Some(_) => Err(Usage("--config goes with --model: the embedded model has its own".into())),
            None => Ok(Pretrained::embedded()),
        }
    }

    /// The model on a device, with kernels as `LANGEVIN_KERNELS` asks.
    pub fn on(&self, gpu: &Gpu, saved: SavedModel, session: &Session) -> anyhow::Result<Model> {
        Ok(Model::new(gpu, saved, self.which())?.with_kernels(session.kernels(gpu)?))
    }

    /// Which weights.
    pub fn which(&self) -> Which {
        if self.raw { Which::Raw } else { Which::Ema }
    }

    /// Where the weights are read from, for the check of results.
    pub fn inputs(&self) -> Vec<Input<'_>> {
        self.model.iter().map(|name| Input::Model("--model", Path::new(name))).collect()
    }
}

/// What looks like a path is a missing file, what does not an unknown name.
fn missing(name: &str) -> Error {
    if name.contains(['/', '\\', '.']) {
        // The system's own words.
        let source = std::fs::metadata(name).err().unwrap_or_else(|| std::io::ErrorKind::NotFound.into());
        return Error::Io { path: PathBuf::from(name), source };
    }
    let nearest = error::nearest(name, EMBEDDED.iter().copied());
    Error::UnknownName { kind: "model (and there is no such file)", name: name.to_owned(), nearest }
}
