//! A model out of a file: its configuration, its network, its weights under our names.

use std::path::Path;

use super::torch::Parameter;
use super::{Source, Tensor, Tensors, Weights, open, read};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::models::{self, Config, Network, names};

/// The weights that are built into the program, if any are.
const EMBEDDED: Option<&[u8]> = include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// Which weights of a training checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// Their moving average where the file has one, else the weights.
    #[default]
    Ema,
    /// The weights as the optimizer left them.
    Raw,
}

/// A configuration, the network that it names, and weights that fit the network.
#[derive(Debug)]
pub struct SavedModel {
    /// The configuration.
    pub config: Config,
    /// The network.
    pub network: Box<dyn Network>,
    /// What the weights are: a path, or the name of embedded ones.
    pub name: String,
    /// Training steps done, where the file says.
    pub step: Option<u64>,
    /// What the user should know of how it was read.
    pub note: Option<String>,
    raw: Tensors,
    ema: Option<Tensors>,
}

impl SavedModel {
    /// The model of a file or folder; see [`super::open`]. `config` is for files that hold none, such as the authors' `.pth`; where it
    /// is given, it counts, also against the file's own.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Format`] where tensors are missing or of another shape than the configuration says, [`Error::Invalid`]
    /// where nobody gave a configuration.
    pub fn open(path: impl AsRef<Path>, config: Option<Config>) -> Result<Self> {
        let path = path.as_ref();
        Self::new(open(path)?, path, config)
    }

    /// The embedded model.
    ///
    /// # Errors
    /// [`Error::UnknownName`] where this build has none.
    pub fn embedded() -> Result<Self> {
        let Some(bytes) = EMBEDDED else {
            return Err(Error::invalid(
                "model",
                "none",
                "this build has no embedded model; name a file or folder with --model",
            ));
        };
        let name = Path::new("the embedded model");
        Self::new(read(&Source::memory(name, bytes))?, name, None)
    }

    fn new(weights: Weights, path: &Path, config: Option<Config>) -> Result<Self> {
        let given = |own: Option<Config>| {
            config.clone().or(own).ok_or_else(|| {
                let problem = format!(
                    "{} holds no configuration; say which preset or TOML file it belongs to",
                    path.display()
                );
                Error::invalid("config", "none", problem)
            })
        };
        let built = |config: Config| models::build(&config).map(|network| (config, network));
        let (config, network, step, note, raw, ema);
        match weights {
            Weights::Torch(file) => {
                (config, network) = built(given(None)?)?;
                let names = names::torch_names(network.manifest())?;
                raw = renamed(&file.model, network.as_ref(), &names, None)?;
                ema = match &file.ema {
                    None => None,
                    Some(ema) => {
                        let params = network.manifest().params().iter().zip(&names);
                        let parameters: Vec<Parameter> = params
                            .map(|(p, name)| Parameter {
                                name: name.clone(),
                                shape: p.shape.clone(),
                                trainable: p.trainable,
                            })
                            .collect();
                        let shadow = ema.named(&parameters, path)?;
                        Some(renamed(&shadow, network.as_ref(), &names, Some(&file.model))?)
                    }
                };
                (step, note) = (file.step, None);
            }
            Weights::Safetensors(file) => {
                let text = |key: &str| file.metadata.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
                let own =
                    text("config").map(|t| Config::from_toml(t, &path.to_string_lossy())).transpose()?;
                (config, network) = built(given(own)?)?;
                let ours: Vec<String> = network.manifest().params().iter().map(|p| p.name.clone()).collect();
                let theirs = names::torch_names(network.manifest())?;
                // Files of other programs have the authors' names, with or without the prefix of `DataParallel`.
                let is_ours = ours.first().is_none_or(|name| file.tensors.contains(name));
                let plain = file.tensors.under("module.")?;
                let tensors = if plain.is_empty() { &file.tensors } else { &plain };
                raw = renamed(tensors, network.as_ref(), if is_ours { &ours } else { &theirs }, None)?;
                (step, note, ema) = (text("step").and_then(|s| s.parse().ok()), None, None);
            }
            Weights::Checkpoint(loaded) => {
                let c = loaded.checkpoint;
                let own = Config::from_toml(&c.config, &path.to_string_lossy())?;
                (config, network) = built(given(Some(own))?)?;
                let ours: Vec<String> = network.manifest().params().iter().map(|p| p.name.clone()).collect();
                raw = renamed(&c.weights, network.as_ref(), &ours, None)?;
                ema = match c.ema_weights.is_empty() {
                    true => None,
                    false => Some(renamed(&c.ema_weights, network.as_ref(), &ours, Some(&c.weights))?),
                };
                (step, note) = (Some(c.step), loaded.note);
            }
            Weights::Diffusers(folder) => {
                let problem = "weights in diffusers' layout can be inspected, not run";
                return Err(Error::format(folder.path, problem));
            }
        }
        Ok(Self { config, network, name: path.display().to_string(), step, note, raw, ema })
    }

    /// Whether there is a moving average beside the weights.
    pub fn has_ema(&self) -> bool {
        self.ema.is_some()
    }

    /// The tensors, under our names, in the network's order.
    pub fn tensors(&self, which: Which) -> &Tensors {
        match (which, &self.ema) {
            (Which::Ema, Some(ema)) => ema,
            _ => &self.raw,
        }
    }

    /// The weights on a device.
    ///
    /// # Errors
    /// [`Error::NonFinite`] when a tensor holds NaN or infinity; what the file and the device say.
    pub fn upload(&self, gpu: &Gpu, which: Which) -> Result<models::Weights> {
        let weights = models::Weights::zeros(gpu, self.network.manifest())?;
        for (name, tensor) in self.tensors(which).iter() {
            let values = tensor.to_f32()?;
            if values.iter().any(|v| !v.is_finite()) {
                return Err(Error::NonFinite { tensor: name.to_owned(), step: self.step.unwrap_or(0) });
            }
            weights.write(name, &values)?;
        }
        Ok(weights)
    }
}

/// The network's parameters out of `tensors`, where they have `names`; what is missing there is taken from `fallback`.
fn renamed(
    tensors: &Tensors,
    network: &dyn Network,
    names: &[String],
    fallback: Option<&Tensors>,
) -> Result<Tensors> {
    let mut out = Tensors::new(tensors.origin());
    for (param, name) in network.manifest().params().iter().zip(names) {
        let held = match fallback {
            Some(other) if !tensors.contains(name) => other,
            _ => tensors,
        };
        let tensor: &Tensor = held.require(name, &param.shape)?;
        out.insert(param.name.as_str(), tensor.clone())?;
    }
    Ok(out)
}
