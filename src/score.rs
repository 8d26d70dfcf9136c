//! `ScoreFn`: a model and an SDE make a score; what samplers and likelihood take.
//!
//! ```
//! use langevin::checkpoint::SavedModel;
//! use langevin::score::ModelScore;
//!
//! let saved = SavedModel::embedded(&Ok)?;
//! let sde = saved.config.forward_sde()?;
//! let score = ModelScore::new(saved.network.as_ref(), Some(sde.as_ref()));
//! assert!(!score.unscaled, "a network for VP predicts the noise: its output is divided by -std");
//! # Ok::<(), langevin::Error>(())
//! ```

use std::fmt::Debug;

use crate::error::Result;
use crate::graph::{Graph, Resources, Value};
use crate::models::{Network, Weights};
use crate::nn::Trace;
use crate::nn::trace::{FIXED, WEIGHTS};
use crate::ops::broadcast::{combine_images, scale_images};
use crate::ops::lookup::{Table, column};
use crate::sde::{Conditioning, Prediction, Sde, TimeConditioning};

/// A network over parameter sets of a plan.
#[derive(Clone, Copy, Debug)]
pub struct NetworkModel<'a> {
    network: &'a dyn Network,
    /// The sets with what is trained and what stays as it was drawn.
    sets: [&'a str; 2],
}

impl<'a> NetworkModel<'a> {
    /// The sets of a second network, such as a classifier, beside that of the score.
    const SECOND: [&'static str; 2] = ["second weights", "second fixed"];

    /// Over the sets [`WEIGHTS`] and [`FIXED`], which [`Weights::resources`] gives.
    pub fn new(network: &'a dyn Network) -> Self {
        Self { network, sets: [WEIGHTS, FIXED] }
    }

    /// The second network of a graph, over the sets that [`NetworkModel::second_resources`] gives.
    pub fn second(network: &'a dyn Network) -> Self {
        Self { network, sets: Self::SECOND }
    }

    /// Adds the weights of the second network to what a plan needs.
    pub fn second_resources(weights: &Weights, others: Resources) -> Resources {
        others.set(Self::SECOND[0], &weights.trained).set(Self::SECOND[1], &weights.fixed)
    }

    /// Appends the raw `model_output`: `x` is `n h w c`, `time` the network's own time argument, one number per image.
    ///
    /// # Errors
    /// Those of [`Network::forward`].
    pub fn output(&self, graph: &mut Graph, x: Value, time: Value) -> Result<Value> {
        let [set, fixed] = self.sets;
        self.network.forward(&mut Trace::over(graph, set, fixed), x, time)
    }
}

/// When a score is asked for: the current row of a table on the device.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// The table; its first columns are [`At::COLUMNS`].
    pub table: Table,
    /// Images of the batch.
    pub n: usize,
}

impl At {
    /// How many columns a table of times begins with: the network's time argument, the scales from its output and from x to the score,
    /// and std(t).
    pub const COLUMNS: usize = 4;

    /// The first columns of a row.
    pub fn row(conditioning: Conditioning, std: f64) -> [f64; Self::COLUMNS] {
        [conditioning.argument, conditioning.score_scale, std, conditioning.x_scale]
    }

    /// The network's time argument: `n`.
    pub fn argument(&self, graph: &mut Graph) -> Result<Value> {
        column(graph, self.table, 0, self.n)
    }

    /// What the raw output is multiplied by: `n`.
    pub fn score_scale(&self, graph: &mut Graph) -> Result<Value> {
        column(graph, self.table, 1, self.n)
    }

    /// The share of x in the score: `n`.
    pub fn x_scale(&self, graph: &mut Graph) -> Result<Value> {
        column(graph, self.table, 3, self.n)
    }

    /// The standard deviation of p(x_t | x_0): `n`.
    pub fn std(&self, graph: &mut Graph) -> Result<Value> {
        column(graph, self.table, 2, self.n)
    }
}

/// ∇ₓ log p_t(x), or what a sampler takes for it.
pub trait ScoreFn: Debug {
    /// Appends the score of `x` (`n h w c`) at the table's current row.
    fn score(&self, graph: &mut Graph, x: Value, at: At) -> Result<Value>;
}

/// The score of a model: its output times the scale of the SDE.
#[derive(Clone, Copy, Debug)]
pub struct ModelScore<'a> {
    /// The network.
    pub model: NetworkModel<'a>,
    /// The output is the score already, as it is for the authors' networks under VE.
    pub unscaled: bool,
}

impl<'a> ModelScore<'a> {
    /// The score of a network under an SDE; without one its output is taken as it is, for schedulers of diffusers.
    pub fn new(network: &'a dyn Network, sde: Option<&dyn Sde>) -> Self {
        let unscaled = match (sde, network.conditioning()) {
            (None, _) => true,
            (_, TimeConditioning::Stated { prediction, .. }) => prediction == Prediction::Score,
            // The authors' networks for VE give the score itself.
            (Some(sde), TimeConditioning::Continuous | TimeConditioning::Discrete { .. }) => {
                sde.name() == "vesde"
            }
        };
        Self { model: NetworkModel::new(network), unscaled }
    }
}

impl ScoreFn for ModelScore<'_> {
    fn score(&self, graph: &mut Graph, x: Value, at: At) -> Result<Value> {
        let time = at.argument(graph)?;
        let output = self.model.output(graph, x, time)?;
        if self.unscaled {
            return Ok(output);
        }
        let scale = at.score_scale(graph)?;
        match self.model.network.conditioning() {
            TimeConditioning::Stated { prediction: Prediction::V | Prediction::Data, .. } => {
                let x_scale = at.x_scale(graph)?;
                combine_images(graph, &[(output, scale, 1.0), (x, x_scale, 1.0)])
            }
            _ => scale_images(graph, output, scale),
        }
    }
}
