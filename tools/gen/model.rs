//! `--model`, and what every command that runs one needs to know of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use langevin::checkpoint::{SavedModel, Which};
use langevin::gpu::Gpu;
use langevin::models::config::Sde as SdeName;
use langevin::nn::trace::WEIGHTS;
use langevin::output::Provenance;
use langevin::score::NetworkModel;
use langevin::sde::{Sde, TimeConditioning};
use langevin::training::{sde_of, time_of};
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
    /// Opens the model; `--set` is applied to its configuration before the network is built.
    pub fn open(&self, session: &Session) -> anyhow::Result<SavedModel> {
        let change = |config| self.config.apply(config);
        let embedded = || {
            if self.config.config.is_some() {
                return Err(Usage("--config goes with --model: the embedded model has its own".into()).into());
            }
            anyhow::Ok(SavedModel::embedded(&change)?)
        };
        let saved = match &self.model {
            None => embedded()?,
            Some(name) if Path::new(name).exists() => {
                SavedModel::open_with(name, self.config.named()?, &change).context("--model")?
            }
            Some(name) if EMBEDDED.contains(&name.as_str()) => embedded()?,
            Some(name) => return Err(missing(name).into()),
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

    /// Where the weights are read from, for the check of results.
    pub fn inputs(&self) -> Vec<Input<'_>> {
        self.model.iter().map(|name| Input::Model("--model", Path::new(name))).collect()
    }

    /// Which weights.
    pub fn which(&self) -> Which {
        if self.raw { Which::Raw } else { Which::Ema }
    }

    /// Whether they are the moving average, where `saved` has one.
    pub fn averaged(&self, saved: &SavedModel) -> bool {
        saved.has_ema() && !self.raw
    }

    /// What pictures and tensors say of how they came about.
    pub fn provenance(&self, saved: &SavedModel, gpu: &Gpu) -> langevin::Result<Provenance> {
        let adapter = gpu.adapter();
        Ok(Provenance::new()
            .with("model", &saved.name)
            .with("weights", format!("{:016x}", saved.tensors(self.which()).checksum()?))
            .with("config", saved.config.to_toml())
            .with("adapter", format!("{}, {}", adapter.name, adapter.driver)))
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

/// What a model is to samplers: its images and its SDE.
pub trait Facts {
    /// Height, width, channels.
    fn hwc(&self) -> [usize; 3];
    /// Data in [-1, 1] rather than [0, 1].
    fn centered(&self) -> bool;
    /// The SDE; an error where the weights have none of ours.
    fn sde(&self) -> langevin::Result<Arc<dyn Sde>>;
    /// What the network is told about time.
    fn time(&self) -> TimeConditioning;
    /// The network's output is the score itself.
    fn unscaled(&self) -> bool;
    /// The network with its weights.
    fn network_model(&self) -> NetworkModel<'_>;
}

impl Facts for SavedModel {
    fn hwc(&self) -> [usize; 3] {
        let data = &self.config.data;
        [data.image_size, data.image_size, data.num_channels]
    }

    fn centered(&self) -> bool {
        self.config.data.centered
    }

    fn sde(&self) -> langevin::Result<Arc<dyn Sde>> {
        match &self.no_sde {
            Some(reason) => Err(Error::invalid("model", &self.name, reason)),
            None => sde_of(&self.config),
        }
    }

    fn time(&self) -> TimeConditioning {
        time_of(&self.config)
    }

    fn unscaled(&self) -> bool {
        self.config.training.sde == SdeName::Ve
    }

    fn network_model(&self) -> NetworkModel<'_> {
        NetworkModel { network: self.network.as_ref(), set: WEIGHTS }
    }
}
