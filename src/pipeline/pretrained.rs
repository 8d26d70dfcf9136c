//! Weights on their way from a file to a device.

#[cfg(feature = "files")]
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use super::model::Model;
use crate::checkpoint::{SavedModel, Which};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, blocking};
use crate::models::{Config, Network, presets};
use crate::sde::Sde;

/// Weights to be loaded: which file, whose configuration, the average or the raw weights.
///
/// ```no_run
/// use langevin::gpu::Gpu;
/// use langevin::pipeline::Pretrained;
///
/// # fn main() -> langevin::Result<()> {
/// let gpu = Gpu::open_default()?;
/// let model = Pretrained::open("checkpoint_24.pth")?.preset("ve/cifar10_ncsnpp_continuous").load(&gpu)?;
/// println!("{} of step {:?}", model.name(), model.step());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Pretrained {
    place: Place,
    config: Option<ConfigFrom>,
    keys: Vec<(String, String)>,
    which: Which,
    network: Option<Box<dyn Network>>,
    sde: Option<Arc<dyn Sde>>,
}

#[derive(Debug)]
enum Place {
    Embedded,
    #[cfg_attr(not(feature = "files"), expect(dead_code, reason = "files are opened with the feature alone"))]
    Path(PathBuf),
}

#[derive(Debug)]
enum ConfigFrom {
    Preset(String),
    Given(Box<Config>),
}

impl Pretrained {
    fn new(place: Place) -> Self {
        Self { place, config: None, keys: Vec::new(), which: Which::Ema, network: None, sde: None }
    }

    /// The model that is part of the library: grey digits of 32x32 pixels.
    pub fn embedded() -> Self {
        Self::new(Place::Embedded)
    }

    /// A `.pth` of the authors' code, a safetensors file, a diffusers folder, a checkpoint or work folder of training.
    ///
    /// # Errors
    /// [`Error::Io`] where there is no such file or folder. What it holds is read by [`Pretrained::load`].
    #[cfg(feature = "files")]
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        crate::files::check_exists(path)?;
        Ok(Self::new(Place::Path(path.to_owned())))
    }

    /// The configuration of a preset, such as `ve/cifar10_ncsnpp_continuous`, for files that hold none; it counts against the file's own.
    pub fn preset(mut self, name: impl Into<String>) -> Self {
        self.config = Some(ConfigFrom::Preset(name.into()));
        self
    }

    /// A configuration, for files that hold none; it counts against the file's own.
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(ConfigFrom::Given(Box::new(config)));
        self
    }

    /// Changes one key of the configuration before the network is built, as in `set("sampling.snr", "0.16")`.
    pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.keys.push((key.into(), value.into()));
        self
    }

    /// The weights as the optimizer left them, not their moving average.
    pub fn raw(self) -> Self {
        self.weights(Which::Raw)
    }

    /// Which weights of the file.
    pub fn weights(mut self, which: Which) -> Self {
        self.which = which;
        self
    }

    /// A network of your own, in place of the one that the configuration names. The file's tensors have its parameters' names.
    pub fn network(mut self, network: impl Network + 'static) -> Self {
        self.network = Some(Box::new(network));
        self
    }

    /// An SDE of your own, in place of the one that the configuration names.
    pub fn sde(mut self, sde: impl Sde + 'static) -> Self {
        self.sde = Some(Arc::new(sde));
        self
    }

    /// Reads names, shapes and configuration; the weights go to the device when they are first needed.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] where tensors are missing or of another shape than the configuration says; [`Error::Invalid`] where
    /// no configuration is known, or a key has a value out of range; [`Error::UnknownName`], [`Error::UnknownKey`].
    pub fn open_on(self, gpu: &Gpu) -> Result<Model> {
        let (which, sde) = (self.which, self.sde.clone());
        let saved = self.read()?;
        saved.check(which)?;
        let mut model = Model::new(gpu, saved, which)?;
        if let Some(sde) = sde {
            model = model.with_sde(sde);
        }
        Ok(model)
    }

    /// Reads the weights and puts them on the device.
    ///
    /// # Errors
    /// As [`Pretrained::open_on`]; [`Error::NonFinite`] when a tensor holds NaN or infinity; [`Error::OutOfMemory`].
    pub async fn load_async(self, gpu: &Gpu) -> Result<Model> {
        let model = self.open_on(gpu)?;
        model.weights_async().await?;
        Ok(model)
    }

    /// [`Pretrained::load_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Pretrained::load_async`].
    pub fn load(self, gpu: &Gpu) -> Result<Model> {
        blocking(self.load_async(gpu))
    }

    /// What the file says, without a device.
    ///
    /// # Errors
    /// As [`Pretrained::open_on`].
    pub fn read(self) -> Result<SavedModel> {
        let Self { place, config, keys, network, .. } = self;
        let change = |mut config: Config| {
            keys.iter().try_for_each(|(key, value)| config.set(key, value))?;
            config.validate()?;
            Ok(config)
        };
        let config = match config {
            Some(ConfigFrom::Preset(name)) => Some(presets::get(&name)?),
            Some(ConfigFrom::Given(config)) => Some(*config),
            None => None,
        };
        let saved = match place {
            Place::Embedded if config.is_some() => {
                let problem = "the embedded model has its own; name a file to which it belongs";
                return Err(Error::invalid("configuration", "given", problem));
            }
            Place::Embedded => SavedModel::embedded(&change)?,
            #[cfg(feature = "files")]
            Place::Path(path) => match network {
                Some(network) => SavedModel::open_for(path, network, config, &change)?,
                None => SavedModel::open_with(path, config, &change)?,
            },
            #[cfg(not(feature = "files"))]
            Place::Path(path) => {
                drop(network);
                return Err(Error::invalid("file", path.display(), "this build reads no files"));
            }
        };
        Ok(saved)
    }
}
