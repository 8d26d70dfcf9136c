//! `ScoreFn`: a model and an SDE make a score; what samplers and likelihood take.

use std::fmt::Debug;

use crate::error::Result;
use crate::graph::{Graph, Resources, Value};
use crate::models::{Network, Weights};
use crate::nn::Trace;
use crate::ops::broadcast::scale_images;
use crate::ops::lookup::{Table, column};
use crate::sde::Conditioning;

/// A network as a function of a noisy image and a time: what it gives is the raw `model_output`.
pub trait Model: Debug {
    /// Appends the network: `x` is `n h w c`, `time` the network's own time argument, one number per image.
    fn output(&self, graph: &mut Graph, x: Value, time: Value) -> Result<Value>;
}

/// A network of the authors as a [`Model`], with the weights of one parameter set.
#[derive(Debug)]
pub struct NetworkModel<'a> {
    /// The network.
    pub network: &'a dyn Network,
    /// The set, usually [`WEIGHTS`](crate::nn::trace::WEIGHTS).
    pub set: &'a str,
}

impl Model for NetworkModel<'_> {
    fn output(&self, graph: &mut Graph, x: Value, time: Value) -> Result<Value> {
        self.network.forward(&mut Trace::new(graph, self.set), x, time)
    }
}

/// A second network beside that of the score, such as a classifier, with parameter sets of its own.
#[derive(Debug)]
pub struct SecondModel<'a> {
    /// The network.
    pub network: &'a dyn Network,
}

impl SecondModel<'_> {
    /// Its parameters that are trained, and those that stay as they were drawn.
    const SETS: [&'static str; 2] = ["second weights", "second fixed"];

    /// Adds its weights to what a plan needs.
    pub fn resources(weights: &Weights, others: Resources) -> Resources {
        others.set(Self::SETS[0], &weights.trained).set(Self::SETS[1], &weights.fixed)
    }
}

impl Model for SecondModel<'_> {
    fn output(&self, graph: &mut Graph, x: Value, time: Value) -> Result<Value> {
        let [trained, fixed] = Self::SETS;
        self.network.forward(&mut Trace::over(graph, trained, fixed), x, time)
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
    /// How many columns a table of times begins with: the network's time argument, the scale from output to score, and std(t).
    pub const COLUMNS: usize = 3;

    /// The first columns of a row.
    pub fn row(conditioning: Conditioning, std: f64) -> [f64; Self::COLUMNS] {
        [conditioning.argument, conditioning.score_scale, std]
    }

    /// The network's time argument: `n`.
    pub fn argument(&self, graph: &mut Graph) -> Result<Value> {
        column(graph, self.table, 0, self.n)
    }

    /// What the raw output is multiplied by: `n`.
    pub fn score_scale(&self, graph: &mut Graph) -> Result<Value> {
        column(graph, self.table, 1, self.n)
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
#[derive(Debug)]
pub struct ModelScore<'a> {
    /// The network.
    pub model: &'a dyn Model,
    /// The output is the score already, as it is for VE.
    pub unscaled: bool,
}

impl ScoreFn for ModelScore<'_> {
    fn score(&self, graph: &mut Graph, x: Value, at: At) -> Result<Value> {
        let time = at.argument(graph)?;
        let output = self.model.output(graph, x, time)?;
        if self.unscaled {
            return Ok(output);
        }
        let scale = at.score_scale(graph)?;
        scale_images(graph, output, scale)
    }
}
