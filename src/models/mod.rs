//! The authors' networks and the configuration that names them.
//!
//! ```
//! use langevin::models::{build, presets};
//!
//! let mut config = presets::get("ve/cifar10_ncsnpp_continuous")?;
//! config.set("model.nf", "32")?;
//! config.validate()?;
//! let network = build(&config)?;
//! println!("{} parameters in {} tensors", network.manifest().elements(), network.manifest().params().len());
//! # Ok::<(), langevin::Error>(())
//! ```

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
use crate::sde::{Prediction, TimeArgument, TimeConditioning};
use config::ModelName;

/// A network of a noisy image and a time, of this library or of anybody else: samplers, likelihood and training take nothing more.
///
/// ```
/// use langevin::graph::Value;
/// use langevin::models::Network;
/// use langevin::nn::layers::{Conv2d, activate};
/// use langevin::nn::{Manifest, Trace};
/// use langevin::ops::activation::Activation;
///
/// /// Two convolutions that predict the noise of an image whatever the time.
/// #[derive(Debug)]
/// struct TwoLayers {
///     manifest: Manifest,
///     first: Conv2d,
///     last: Conv2d,
/// }
///
/// impl TwoLayers {
///     fn new() -> Self {
///         let mut manifest = Manifest::default();
///         let mut root = manifest.root();
///         let first = Conv2d::conv3x3(&mut root.at("first"), 1, 16, 1.0);
///         let last = Conv2d::conv3x3(&mut root.at("last"), 16, 1, 0.0);
///         Self { manifest, first, last }
///     }
/// }
///
/// impl Network for TwoLayers {
///     fn manifest(&self) -> &Manifest {
///         &self.manifest
///     }
///
///     fn forward(&self, trace: &mut Trace<'_>, x: Value, _time: Value) -> langevin::Result<Value> {
///         let h = self.first.forward(trace, x)?;
///         let h = activate(trace, h, Activation::Silu)?;
///         self.last.forward(trace, h)
///     }
/// }
/// assert_eq!(TwoLayers::new().manifest().elements(), 16 * 9 + 16 + 16 * 9 + 1);
/// ```
pub trait Network: Debug + Send + Sync {
    /// Its parameters, in order of construction.
    fn manifest(&self) -> &Manifest;

    /// Appends the raw output: `x` is the noisy image (`n h w c`), `time` the network's own time argument (`n`), as
    /// [`Network::conditioning`] says. The output has the shape of `x`; that of a classifier is logits, `n classes`.
    ///
    /// # Errors
    /// [`Error::Shape`] when `x` has not the size or channels that the network is for.
    fn forward(&self, trace: &mut Trace<'_>, x: Value, time: Value) -> Result<Value>;

    /// What the network is told about time, and what its output is. Unless said otherwise it is told t, from 0 to 1, and predicts the
    /// noise. A classifier is told σ(t), whatever stands here.
    fn conditioning(&self) -> TimeConditioning {
        TimeConditioning::Stated { argument: TimeArgument::Time, prediction: Prediction::Noise }
    }
}

impl<N: Network + ?Sized> Network for Box<N> {
    fn manifest(&self) -> &Manifest {
        (**self).manifest()
    }

    fn forward(&self, trace: &mut Trace<'_>, x: Value, time: Value) -> Result<Value> {
        (**self).forward(trace, x, time)
    }

    fn conditioning(&self) -> TimeConditioning {
        (**self).conditioning()
    }
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
        ModelName::Custom => {
            let problem = "the network is that of another program, which has to bring it";
            return Err(Error::invalid("model.name", config.model.name, problem));
        }
    })
}
