//! A model out of a file: its configuration, its network, its weights under our names.

use std::path::Path;

#[cfg(feature = "files")]
use super::adopt::adopt;
use super::diffusers::{SchedulerConfig, UNetConfig};
#[cfg(feature = "files")]
use super::open;
use super::resolve::{Apart, Resolved, resolve};
use super::safetensors::Metadata;
use super::torch::{Ema, Parameter};
use super::{Source, Tensor, Tensors, Weights, read, unet2d};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, blocking};
use crate::models::{self, Config, Network, names};

/// The weights that are built into the program, if any are.
const EMBEDDED: Option<&[u8]> = include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// The key under which a file keeps the names of its classes, a list in JSON.
pub const CLASSES: &str = "classes";
/// The key under which a file keeps how pictures became what the model learned from.
pub const RECIPE: &str = "recipe";

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
    /// The names of the classes in the order of their numbers, where the file has them.
    pub classes: Vec<String>,
    /// How pictures became what the model learned from, as `data` writes it, where the file says.
    pub recipe: Option<String>,
    /// The scheduler of a diffusers folder.
    pub scheduler: Option<SchedulerConfig>,
    /// Why the SDE of the configuration is not that of the weights, where it is not: only `scheduler` can sample them.
    pub no_sde: Option<String>,
    /// The network's description where it comes from diffusers.
    pub unet: Option<UNetConfig>,
    raw: Tensors,
    ema: Option<Tensors>,
    /// Why the average that the file has cannot be used.
    broken_ema: Option<String>,
    only_average: bool,
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
                "this build has no embedded model; name a file or folder of weights",
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
        let (mut broken_ema, mut only_average, mut taken) = (None, false, String::new());
        let mut split = |resolved: Resolved| {
            let mut ema = None;
            match resolved.ema {
                Some(Ok(average)) => ema = Some(average),
                Some(Err(error)) => broken_ema = Some(error.to_string()),
                None => {}
            }
            (only_average, taken) = (resolved.only_average, resolved.taken);
            (resolved.raw, ema)
        };
        let (mut scheduler, mut unet, mut no_sde) = (None, None, None);
        let (mut classes, mut recipe) = (Vec::new(), None);
        match weights {
            Weights::Torch(file) => {
                (config, network) = built(given(None)?)?;
                let theirs = names::torch_names(network.manifest())?;
                let apart = file.ema.map(|ema| average_of(ema, network.as_ref(), &theirs, path));
                (raw, ema) = split(resolve(&file.model, apart, network.as_ref(), &theirs)?);
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
                let theirs = names::torch_names(network.manifest())?;
                (raw, ema) = split(resolve(&file.tensors, None, network.as_ref(), &theirs)?);
                classes = text(CLASSES).map_or(Vec::new(), class_names);
                recipe = text(RECIPE).map(str::to_owned);
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
                classes = c.extra.get(CLASSES).map_or(Vec::new(), |text| class_names(text));
                recipe = c.extra.get(RECIPE).cloned();
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
        let note = note.or((!taken.is_empty()).then(|| format!("{}: {taken}", path.display())));
        let name = path.display().to_string();
        Ok(Self {
            config,
            network,
            name,
            step,
            note,
            classes,
            recipe,
            scheduler,
            no_sde,
            unet,
            raw,
            ema,
            broken_ema,
            only_average,
        })
    }

    /// Whether there is a moving average beside the weights, and it can be used.
    pub fn has_ema(&self) -> bool {
        self.ema.is_some()
    }

    /// Refuses weights that the file does not have, or has in a form that cannot be used.
    ///
    /// # Errors
    /// [`Error::Format`] with what is the matter with the average; where raw weights are asked for and the file holds an average alone.
    pub fn check(&self, which: Which) -> Result<()> {
        match (which, &self.broken_ema) {
            (Which::Ema, Some(problem)) => Err(Error::format(
                &self.name,
                format!("the average of its weights cannot be used; take the raw weights instead: {problem}"),
            )),
            (Which::Raw, _) if self.only_average => {
                Err(Error::format(&self.name, "it holds an average of weights, not the raw weights"))
            }
            _ => Ok(()),
        }
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
        self.check(which)?;
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

/// The names of classes out of a file; none where they are no list of names.
fn class_names(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_default()
}

/// The value of a key of a file's metadata.
fn text_of<'m>(metadata: &'m Metadata, key: &str) -> Option<&'m str> {
    metadata.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
}

/// The average of a file of torch.save, with names.
fn average_of(ema: Result<Ema>, network: &dyn Network, theirs: &[String], path: &Path) -> Apart {
    let mut place = "ema".to_owned();
    let tensors = ema.and_then(|ema| {
        place.clone_from(&ema.place);
        if !ema.by_name.is_empty() {
            return Ok(ema.by_name);
        }
        let params = network.manifest().params().iter().zip(theirs);
        let parameters: Vec<Parameter> = params
            .map(|(p, name)| Parameter { name: name.clone(), shape: p.shape.clone(), trainable: p.trainable })
            .collect();
        ema.named(&parameters, path)
    });
    Apart { place, tensors }
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
