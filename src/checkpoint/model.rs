//! A model out of a file: its configuration, its network, its weights under our names.

use std::path::Path;

use super::adopt::adopt;
use super::diffusers::{SchedulerConfig, UNetConfig};
#[cfg(feature = "files")]
use super::formats::open;
use super::formats::{Average, Contents, Described, read};
use super::resolve::{Apart, Resolved, resolve};
use super::torch::Parameter;
use super::{Source, Tensor, Tensors, unet2d};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, blocking};
use crate::models::unet::Unet;
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
        Self::new(open(path)?, path, None, config, change)
    }

    /// [`SavedModel::open_with`] for a network that the configuration does not name: the file's tensors have its parameters' names.
    ///
    /// # Errors
    /// As [`SavedModel::open`].
    #[cfg(feature = "files")]
    pub fn open_for(
        path: impl AsRef<Path>,
        network: Box<dyn Network>,
        config: Option<Config>,
        change: Change<'_>,
    ) -> Result<Self> {
        let path = path.as_ref();
        Self::new(open(path)?, path, Some(network), config, change)
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
        Self::new(read(&Source::memory(name, bytes))?, name, None, None, change)
    }

    /// The network that `contents` are of, and its tensors under our names.
    fn new(
        contents: Contents,
        path: &Path,
        brought: Option<Box<dyn Network>>,
        given: Option<Config>,
        change: Change<'_>,
    ) -> Result<Self> {
        let Contents { tensors, names_are_ours, average, described, step, classes, recipe, .. } = contents;
        // Before anything else is made of it, a description is held against the weights beside it.
        let unet = match (&described, &brought) {
            (Some(described), None) => Some(unet2d::network(&described.unet, &tensors)?),
            _ => None,
        };
        let mut no_sde = described.as_ref().and_then(|described| described.no_sde.clone());
        let own = || match (&contents.config, &described) {
            // What diffusers calls a configuration is another one.
            (_, Some(Described { unet, scheduler, has_their_names: true, .. })) => {
                let adopted = adopt(unet, scheduler.as_ref())?;
                no_sde = adopted.no_sde;
                Ok(adopted.config)
            }
            (Some(text), _) => Config::from_toml(text, &path.to_string_lossy()),
            (None, _) => {
                let problem = format!(
                    "{} holds no configuration; say which preset or TOML file it belongs to",
                    path.display()
                );
                Err(Error::invalid("config", "none", problem))
            }
        };
        let config = change(given.map_or_else(own, Ok)?)?;
        let (network, resolved): (Box<dyn Network>, Resolved) = match (&described, unet) {
            (Some(described), Some(unet)) => {
                let unet = unet.with_conditioning(config.conditioning());
                let resolved = match described.has_their_names {
                    true => Resolved::only(read_unet(&unet, &tensors)?),
                    false => resolve(&tensors, None, &unet, &names::torch_names(unet.manifest())?)?,
                };
                (Box::new(unet), resolved)
            }
            _ => {
                let network = brought.map_or_else(|| models::build(&config), Ok)?;
                let resolved = match names_are_ours {
                    true => ours(&tensors, average, network.as_ref())?,
                    false => {
                        let theirs = names::torch_names(network.manifest())?;
                        let apart = average.map(|average| apart(average, network.as_ref(), &theirs, path));
                        resolve(&tensors, apart, network.as_ref(), &theirs)?
                    }
                };
                (network, resolved)
            }
        };
        let Resolved { raw, ema, only_average, taken } = resolved;
        let (ema, broken_ema) = match ema {
            Some(Ok(average)) => (Some(average), None),
            Some(Err(error)) => (None, Some(error.to_string())),
            None => (None, None),
        };
        let note = contents.note.or((!taken.is_empty()).then(|| format!("{}: {taken}", path.display())));
        let name = path.display().to_string();
        let (unet, scheduler) = described.map_or((None, None), |d| (Some(d.unet), d.scheduler));
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

/// The tensors of a U-Net under our names, out of those that diffusers names.
fn read_unet(unet: &Unet, stored: &Tensors) -> Result<Tensors> {
    let mut tensors = Tensors::new(stored.origin());
    unet2d::read(unet, stored, |name, data| {
        let shape = unet.manifest().find(name).map(|p| &p.shape[..]);
        tensors.insert(name, Tensor::from_f32(shape.unwrap_or_default(), data)?)
    })?;
    Ok(tensors)
}

/// What a file of ours holds of a network.
fn ours(tensors: &Tensors, average: Option<Result<Average>>, network: &dyn Network) -> Result<Resolved> {
    let ours: Vec<String> = network.manifest().params().iter().map(|p| p.name.clone()).collect();
    let ema = match average.transpose()? {
        Some(Average::Named { tensors: average, .. }) => {
            Some(Ok(renamed(&average, network, &ours, Some(tensors))?))
        }
        _ => None,
    };
    Ok(Resolved { ema, ..Resolved::only(renamed(tensors, network, &ours, None)?) })
}

/// An average that a file keeps apart, with names.
fn apart(average: Result<Average>, network: &dyn Network, theirs: &[String], path: &Path) -> Apart {
    let mut place = "ema".to_owned();
    let tensors = average.and_then(|average| match average {
        Average::Named { place: at, tensors } => {
            place = at;
            Ok(tensors)
        }
        Average::Torch(ema) => {
            place.clone_from(&ema.place);
            if !ema.by_name.is_empty() {
                return Ok(ema.by_name);
            }
            let params = network.manifest().params().iter().zip(theirs);
            let parameters: Vec<Parameter> = params
                .map(|(p, name)| Parameter {
                    name: name.clone(),
                    shape: p.shape.clone(),
                    trainable: p.trainable,
                })
                .collect();
            ema.named(&parameters, path)
        }
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
