//! The authors' networks and the configuration that names them.

pub mod classifier;
pub mod config;
pub mod names;
pub mod presets;
pub mod refinenet;
pub mod unet;
pub mod weights;

pub use config::Config;
pub use weights::Weights;

use std::fmt::Debug;

use crate::error::{Error, Result};
use crate::graph::{Graph, Value};
use crate::nn::{Manifest, Trace};
use crate::ops::{broadcast, elementwise, gather, reciprocal};
use config::ModelName;

/// A network of any architecture.
pub trait Network: Debug + Send + Sync {
    /// Its parameters, in order of construction.
    fn manifest(&self) -> &Manifest;

    /// Appends the raw output: `x` is the data (`n h w c`), `time_cond` the network's own time argument (`n`): sigma for
    /// Fourier embeddings and the classifier, a label elsewhere. The output has the shape of `x`, or is `n classes`.
    ///
    /// # Errors
    /// [`Error::Shape`] when `x` has not the size or channels that the network is for.
    fn forward(&self, trace: &mut Trace<'_>, x: Value, time_cond: Value) -> Result<Value>;
}

/// An error unless the input of a network has these sizes.
fn check_input(graph: &Graph, x: Value, time_cond: Value, [h, w, c]: [usize; 3]) -> Result<()> {
    let n = graph.shape(x).dims().first().copied().unwrap_or(0);
    if graph.shape(x).dims() == [n, h, w, c] && graph.shape(time_cond).dims() == [n] {
        return Ok(());
    }
    let problem = format!("x is {}, its time argument {}", graph.shape(x), graph.shape(time_cond));
    Err(Error::shape("model", problem, format!("give n x {h} x {w} x {c} and n")))
}

/// The image that a network sees: data in [0, 1] are brought to [-1, 1], others are there.
fn centre(trace: &mut Trace<'_>, x: Value, centered: bool) -> Result<Value> {
    if centered {
        return Ok(x);
    }
    let doubled = elementwise::scale(trace.graph, x, 2.0)?;
    let c = trace.graph.shape(x).last();
    let minus_one = trace.graph.constant("minus one", [c], &vec![-1.0; c]);
    broadcast::add_channels(trace.graph, doubled, minus_one)
}

/// `y / sigma`, where `sigma` (`n`) is given.
fn divide_by_sigma(trace: &mut Trace<'_>, y: Value, sigma: Value) -> Result<Value> {
    let factor = reciprocal::reciprocal(trace.graph, sigma, f32::MIN_POSITIVE)?;
    broadcast::scale_images(trace.graph, y, factor)
}

/// `y / sigmas[label]`, where `labels` (`n`) are given; a label counts by its integral part.
fn divide_by_table(trace: &mut Trace<'_>, y: Value, labels: Value, sigmas: &[f64]) -> Result<Value> {
    // One division in f64 here is more exact than one on the device.
    let inverse: Vec<f32> = sigmas.iter().map(|sigma| (1.0 / sigma) as f32).collect();
    let table = trace.graph.constant("1/sigmas", [inverse.len(), 1], &inverse);
    let factor = gather::gather(trace.graph, table, labels)?;
    let n = trace.graph.shape(labels)[0];
    let factor = elementwise::copy_as(trace.graph, factor, [n])?;
    broadcast::scale_images(trace.graph, y, factor)
}

/// The network that a configuration names.
///
/// # Errors
/// [`Error::Shape`] when widths and groups do not fit, with the layer's name.
pub fn build(config: &Config) -> Result<Box<dyn Network>> {
    Ok(match config.model.name {
        ModelName::Ncsnpp | ModelName::Ddpm => Box::new(unet::Unet::new(unet::UnetSpec::new(config)?)?),
        ModelName::Ncsn | ModelName::Ncsnv2x64 | ModelName::Ncsnv2x128 | ModelName::Ncsnv2x256 => {
            Box::new(refinenet::RefineNet::new(config)?)
        }
        ModelName::Wideresnet => Box::new(classifier::Classifier::new(config)?),
    })
}
