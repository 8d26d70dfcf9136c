//! What a run owns on the device: weights, their average, the moments of Adam, gradients; to and from checkpoints.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::checkpoint::{Tensor, Tensors};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::{ParameterLayout, ParameterSet, Shape};
use crate::nn::Manifest;

/// Parameter sets of one model in training.
///
/// Parameters that have a gradient come first, so that the optimizer's segments are the beginning of the weights' segments; what has
/// none (layers that nothing reads) lies behind them and is never touched. Fourier frequencies have a set of their own.
#[derive(Debug)]
pub struct TrainState {
    /// Parameters.
    pub weights: ParameterSet,
    /// Parameters that stay as they were drawn.
    pub fixed: ParameterSet,
    /// The moving average of the weights; a parameter without a gradient is its own.
    pub ema: ParameterSet,
    /// First moments, of what has a gradient.
    pub adam_m: ParameterSet,
    /// Second moments.
    pub adam_v: ParameterSet,
    /// Gradients.
    pub grads: ParameterSet,
    /// Sums of the gradients of micro-batches.
    pub sums: Option<ParameterSet>,
    /// Names and shapes as the network declares them.
    order: Vec<(String, Shape)>,
}

/// The layouts of a model: all weights, those with a gradient, and what stays fixed.
#[derive(Clone, Debug)]
pub(super) struct Layouts {
    pub(super) all: Arc<ParameterLayout>,
    pub(super) fixed: Arc<ParameterLayout>,
    pub(super) trained: Arc<ParameterLayout>,
}

impl Layouts {
    pub(super) fn new(manifest: &Manifest, trained: &HashSet<String>, limit: u64) -> Result<Self> {
        let of = |with: bool| {
            let wanted = manifest.trainable().filter(move |p| trained.contains(&p.name) == with);
            wanted.map(|p| (p.name.as_str(), Shape::from(p.shape.clone())))
        };
        let fixed = manifest.fixed().map(|p| (p.name.as_str(), Shape::from(p.shape.clone())));
        Ok(Self {
            fixed: Arc::new(ParameterLayout::new(fixed, limit)?),
            all: Arc::new(ParameterLayout::new(of(true).chain(of(false)), limit)?),
            trained: Arc::new(ParameterLayout::new(of(true), limit)?),
        })
    }
}

impl TrainState {
    pub(super) fn new(gpu: &Gpu, manifest: &Manifest, layouts: &Layouts, sums: bool) -> Result<Self> {
        let Layouts { all, fixed, trained } = layouts;
        let sums = if sums { Some(ParameterSet::zeros(gpu, "sums", trained)?) } else { None };
        Ok(Self {
            weights: ParameterSet::zeros(gpu, "weights", all)?,
            fixed: ParameterSet::zeros(gpu, "fixed", fixed)?,
            ema: ParameterSet::zeros(gpu, "ema", all)?,
            adam_m: ParameterSet::zeros(gpu, "adam_m", trained)?,
            adam_v: ParameterSet::zeros(gpu, "adam_v", trained)?,
            grads: ParameterSet::zeros(gpu, "grads", trained)?,
            sums,
            order: manifest.params().iter().map(|p| (p.name.clone(), p.shape.clone().into())).collect(),
        })
    }

    /// Draws initial weights; the average begins there.
    pub fn initialise(&self, manifest: &Manifest, seed: u64) -> Result<()> {
        for (spec, values) in manifest.initialise(seed) {
            let set = if spec.trainable { &self.weights } else { &self.fixed };
            set.write(&spec.name, &values)?;
        }
        self.ema.copy_from(&self.weights)
    }

    /// Reads weights, average and moments back, in the order in which the network declares them. The first two are complete: fixed
    /// parameters stand in both.
    pub fn tensors(&self) -> Result<[Tensors; 4]> {
        let read = |sets: &[&ParameterSet]| -> Result<Tensors> {
            let mut values = HashMap::new();
            for set in sets {
                let names = set.layout().slots().iter().map(|slot| slot.name.as_str());
                values.extend(names.zip(set.read_all()?));
            }
            let mut tensors = Tensors::new("the run");
            for (name, shape) in &self.order {
                if let Some(data) = values.remove(name.as_str()) {
                    tensors.insert(name.as_str(), Tensor::from_f32(shape.dims(), data)?)?;
                }
            }
            Ok(tensors)
        };
        let (weights, ema) = (read(&[&self.weights, &self.fixed])?, read(&[&self.ema, &self.fixed])?);
        Ok([weights, ema, read(&[&self.adam_m])?, read(&[&self.adam_v])?])
    }

    /// Writes what [`TrainState::tensors`] gave.
    ///
    /// # Errors
    /// [`Error::Format`] when a tensor is missing or has another shape, [`Error::NonFinite`] when one holds NaN or infinity.
    pub fn restore(&self, tensors: [&Tensors; 4], step: u64) -> Result<()> {
        let [weights, ema, m, v] = tensors;
        let fixed = (&self.fixed, weights);
        let trained = [(&self.weights, weights), (&self.ema, ema), (&self.adam_m, m), (&self.adam_v, v)];
        for (set, tensors) in trained.into_iter().chain([fixed]) {
            for slot in set.layout().slots() {
                let values = tensors.require(&slot.name, slot.shape.dims())?.to_f32()?;
                if non_finite(&values) {
                    return Err(Error::NonFinite { tensor: slot.name.clone(), step });
                }
                set.write(&slot.name, &values)?;
            }
        }
        Ok(())
    }

    /// The first parameter, in the network's order, whose gradient of the last step is not finite.
    pub fn non_finite_gradient(&self) -> Result<Option<String>> {
        let values = self.grads.read_all()?;
        let slots = self.grads.layout().slots();
        Ok(slots.iter().zip(values).find(|(_, v)| non_finite(v)).map(|(s, _)| s.name.clone()))
    }
}

/// By exponent bits: NaN or infinity.
pub(super) fn non_finite(values: &[f32]) -> bool {
    values.iter().any(|v| v.to_bits() & 0x7f80_0000 == 0x7f80_0000)
}
