//! A network's parameters on a device.

use std::sync::Arc;

use crate::error::{Error, Result, nearest};
use crate::gpu::{Gpu, blocking};
use crate::graph::{ParameterLayout, ParameterSet, Resources, Shape};
use crate::nn::trace::{FIXED, WEIGHTS};
use crate::nn::{Manifest, ParamSpec};

/// The parameters of one network: those that are trained, and those that stay as they were drawn.
#[derive(Clone, Debug)]
pub struct Weights {
    /// The set [`WEIGHTS`].
    pub trained: ParameterSet,
    /// The set [`FIXED`].
    pub fixed: ParameterSet,
}

/// The layout of the parameters that are trained: that of gradients, Adam moments and averages too.
///
/// # Errors
/// [`Error::Limit`] when one tensor exceeds a binding.
pub fn trained_layout(gpu: &Gpu, manifest: &Manifest) -> Result<Arc<ParameterLayout>> {
    layout(gpu, manifest.trainable())
}

fn layout<'m>(gpu: &Gpu, params: impl Iterator<Item = &'m ParamSpec>) -> Result<Arc<ParameterLayout>> {
    let tensors = params.map(|p| (p.name.as_str(), Shape::from(p.shape.as_slice())));
    ParameterLayout::new(tensors, gpu.capabilities().max_binding).map(Arc::new)
}

impl Weights {
    /// Zeros for every parameter.
    ///
    /// # Errors
    /// [`Error::Limit`] when one tensor exceeds a binding, [`Error::OutOfMemory`].
    pub async fn zeros_async(gpu: &Gpu, manifest: &Manifest) -> Result<Self> {
        Ok(Self {
            trained: ParameterSet::zeros_async(gpu, WEIGHTS, &trained_layout(gpu, manifest)?).await?,
            fixed: ParameterSet::zeros_async(gpu, FIXED, &layout(gpu, manifest.fixed())?).await?,
        })
    }

    /// [`Weights::zeros_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Weights::zeros_async`].
    pub fn zeros(gpu: &Gpu, manifest: &Manifest) -> Result<Self> {
        blocking(Self::zeros_async(gpu, manifest))
    }

    /// Initial values under a seed.
    ///
    /// # Errors
    /// As [`Weights::zeros`].
    pub fn initial(gpu: &Gpu, manifest: &Manifest, seed: u64) -> Result<Self> {
        let weights = Self::zeros(gpu, manifest)?;
        for (param, values) in manifest.initialise(seed) {
            weights.write(&param.name, &values)?;
        }
        Ok(weights)
    }

    /// Writes a parameter, row-major in the shape of the manifest.
    ///
    /// # Errors
    /// [`Error::UnknownName`], or [`Error::Shape`] when `data` has another number of elements.
    pub fn write(&self, name: &str, data: &[f32]) -> Result<()> {
        self.set_of(name)?.write(name, data)
    }

    /// Reads a parameter back.
    ///
    /// # Errors
    /// [`Error::UnknownName`].
    pub fn read(&self, name: &str) -> Result<Vec<f32>> {
        self.set_of(name)?.read(name)
    }

    /// What a plan needs to find the parameters.
    pub fn resources(&self) -> Resources {
        Resources::new().set(WEIGHTS, &self.trained).set(FIXED, &self.fixed)
    }

    fn set_of(&self, name: &str) -> Result<&ParameterSet> {
        let mut sets = [&self.trained, &self.fixed].into_iter();
        sets.find(|set| set.layout().slot(name).is_some()).ok_or_else(|| {
            let slots = self.trained.layout().slots().iter().chain(self.fixed.layout().slots());
            Error::UnknownName {
                kind: "parameter",
                name: name.to_owned(),
                nearest: nearest(name, slots.map(|slot| slot.name.as_str())),
            }
        })
    }
}
