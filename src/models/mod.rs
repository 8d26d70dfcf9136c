//! The authors' networks and the configuration that names them.

pub mod classifier;
pub mod config;
pub mod names;
pub mod presets;
pub mod refinenet;
pub mod unet;

pub use config::Config;

use std::fmt::Debug;

use crate::error::Result;
use crate::nn::Manifest;
use config::ModelName;

/// A network of any architecture.
pub trait Network: Debug + Send + Sync {
    /// Its parameters, in order of construction.
    fn manifest(&self) -> &Manifest;
}

/// The network that a configuration names.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) when widths and groups do not fit, with the layer's name.
pub fn build(config: &Config) -> Result<Box<dyn Network>> {
    Ok(match config.model.name {
        ModelName::Ncsnpp | ModelName::Ddpm => Box::new(unet::Unet::new(unet::UnetSpec::new(config)?)?),
        ModelName::Ncsn | ModelName::Ncsnv2x64 | ModelName::Ncsnv2x128 | ModelName::Ncsnv2x256 => {
            Box::new(refinenet::RefineNet::new(config)?)
        }
        ModelName::Wideresnet => Box::new(classifier::Classifier::new(config)?),
    })
}
