//! A model out of a file: its configuration, its network, its weights under our names.

use std::path::Path;

#[cfg(feature = "files")]
use super::adopt::adopt;
use super::diffusers::{SchedulerConfig, UNetConfig};
#[cfg(feature = "files")]
use super::open;
use super::safetensors::Metadata;
use super::torch::Parameter;
use super::{Source, Tensor, Tensors, Weights, read, unet2d};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, blocking};
use crate::models::{self, Config, Network, names};

/// The weights that are built into the program, if any are.
const EMBEDDED: Option<&[u8]> = include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// What stands before the authors' names in files: nothing, what `DataParallel` adds, what programs call a model's tensors.
const PREFIXES: [&str; 5] = ["", "module.", "model.", "model.module.", "param."];

/// A change to a configuration, such as `--set`.
pub type Change<'a> = &'a dyn Fn(Config) -> Result<Config>;

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
    /// The scheduler of a diffusers folder.
    pub scheduler: Option<SchedulerConfig>,
    /// Why the SDE of the configuration is not that of the weights, where it is not: only `scheduler` can sample them.
    pub no_sde: Option<String>,
    /// The network's description where it comes from diffusers.
    pub unet: Option<UNetConfig>,
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
    #[cfg(feature = "files")]
    pub fn open(path: impl AsRef<Path>, config: Option<Config>) -> Result<Self> {
        Self::open_with(path, config, &Ok)
    }

    /// [`SavedModel::open`], with `change` applied to the configuration before the network is built.
    ///
    /// # Errors
    /// As [`SavedModel::open`]; those of `change`.
    #[cfg(feature = "files")]
    pub fn open_with(path: impl AsRef<Path>, config: Option<Config>, change: Change<'_>) -> Result<Self> {
        let path = path.as_ref();
        Self::new(open(path)?, path, config, change)
    }

    /// The embedded model, with `change` applied to its configuration.
    ///
    /// # Errors
    /// [`Error::UnknownName`] where this build has none.
    pub fn embedded(change: Change<'_>) -> Result<Self> {
        let Some(bytes) = EMBEDDED else {
            return Err(Error::invalid(
                "model",
                "none",
                "this build has no embedded model; name a file or folder with --model",
            ));
        };
        let name = Path::new("the embedded model");
        Self::new(read(&Source::memory(name, bytes))?, name, None, change)
    }

    fn new(weights: Weights, path: &Path, config: Option<Config>, change: Change<'_>) -> Result<Self> {
        let config_given = config;
        let given = |own: Option<Config>| {
            config_given.clone().or(own).ok_or_else(|| {
                let problem = format!(
                    "{} holds no configuration; say which preset or TOML file it belongs to",
                    path.display()
                );
                Error::invalid("config", "none", problem)
            })
        };
        let built = |config: Config| {
            let config = change(config)?;
            models::build(&config).map(|network| (config, network))
        };
        let (config, network, step, note, raw, ema);
        let (mut scheduler, mut unet, mut no_sde) = (None, None, None);
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
                let text = |key: &str| text_of(&file.metadata, key);
                let own =
                    text("config").map(|t| Config::from_toml(t, &path.to_string_lossy())).transpose()?;
                if let Some(text) = text("unet") {
                    let bad = |key: &str, e: serde_json::Error| {
                        Error::format(path, format!("its metadata, {key}: {e}"))
                    };
                    let described = UNetConfig::from_json(text).map_err(|e| bad("unet", e))?;
                    network = Box::new(unet2d::network(&described, &file.tensors)?) as Box<dyn Network>;
                    config = change(given(own)?)?;
                    let kept =
                        text_of(&file.metadata, "scheduler").map(SchedulerConfig::from_json).transpose();
                    scheduler = kept.map_err(|e| bad("scheduler", e))?;
                    no_sde = text_of(&file.metadata, "no_sde").map(str::to_owned);
                    unet = Some(described);
                } else {
                    (config, network) = built(given(own)?)?;
                }
                let ours: Vec<String> = network.manifest().params().iter().map(|p| p.name.clone()).collect();
                let theirs = names::torch_names(network.manifest())?;
                // Files of other programs have the authors' names.
                let is_ours = ours.first().is_none_or(|name| file.tensors.contains(name));
                let first = theirs.first().map_or("", String::as_str);
                let has = |prefix: &&str| file.tensors.contains(&format!("{prefix}{first}"));
                let prefix = PREFIXES.into_iter().find(has).unwrap_or_default();
                let plain = if is_ours { None } else { Some(file.tensors.under(prefix)?) };
                let tensors = plain.as_ref().unwrap_or(&file.tensors);
                raw = renamed(tensors, network.as_ref(), if is_ours { &ours } else { &theirs }, None)?;
                let average = file.tensors.under("ema.")?;
                ema = match plain.is_some() && !average.is_empty() {
                    true => Some(renamed(&average, network.as_ref(), &theirs, Some(tensors))?),
                    false => None,
                };
                (step, note) = (text("step").and_then(|s| s.parse().ok()), None);
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
            #[cfg(feature = "files")]
            Weights::Diffusers(folder) => {
                let stored = folder.tensors()?;
                let built = unet2d::network(&folder.unet, &stored)?;
                let own = match &config_given {
                    Some(config) => config.clone(),
                    None => {
                        let adopted = adopt(&folder.unet, folder.scheduler.as_ref())?;
                        no_sde = adopted.no_sde;
                        adopted.config
                    }
                };
                config = change(own)?;
                let mut tensors = Tensors::new(&folder.weights);
                unet2d::read(&built, &stored, |name, data| {
                    let shape =
                        built.manifest().params().iter().find(|p| p.name == name).map(|p| &p.shape[..]);
                    tensors.insert(name, Tensor::from_f32(shape.unwrap_or_default(), data)?)
                })?;
                network = Box::new(built);
                (step, note, ema, raw) = (None, None, None, tensors);
                (scheduler, unet) = (folder.scheduler, Some(folder.unet));
            }
        }
        let name = path.display().to_string();
        Ok(Self { config, network, name, step, note, scheduler, no_sde, unet, raw, ema })
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
    pub async fn upload_async(&self, gpu: &Gpu, which: Which) -> Result<models::Weights> {
        let weights = models::Weights::zeros_async(gpu, self.network.manifest()).await?;
        for (name, tensor) in self.tensors(which).iter() {
            let values = tensor.to_f32()?;
            if values.iter().any(|v| !v.is_finite()) {
                return Err(Error::NonFinite { tensor: name.to_owned(), step: self.step.unwrap_or(0) });
            }
            weights.write(name, &values)?;
        }
        Ok(weights)
    }

    /// [`SavedModel::upload_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`SavedModel::upload_async`].
    pub fn upload(&self, gpu: &Gpu, which: Which) -> Result<models::Weights> {
        blocking(self.upload_async(gpu, which))
    }
}

/// The value of a key of a file's metadata.
fn text_of<'m>(metadata: &'m Metadata, key: &str) -> Option<&'m str> {
    metadata.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
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
