//! Where the normal numbers of a sampler come from.

use crate::error::Result;
use crate::graph::{Graph, Shape, Value};
use crate::ops::lookup;
use crate::ops::philox::{self, Purpose, Source};

/// A source of standard normal tensors. Each call appends one draw; the counter of steps makes it a new one in each replay.
#[derive(Clone, Debug)]
pub enum Draws {
    /// Philox on the device: image i of a seed gets the same numbers in any batch.
    Philox(Source),
    /// A record of all draws of a run in the order of their use, `draws × n h w c`: for checking against other code.
    Recorded {
        /// The record.
        stack: Value,
        /// The counter of steps.
        counter: Value,
        /// Draws of one step.
        per_step: usize,
        /// The next draw within the step.
        next: usize,
    },
}

impl Draws {
    /// A record whose first draw is the starting point and which has `per_step` draws in each step behind it.
    pub fn recorded(stack: Value, counter: Value, per_step: usize) -> Self {
        Self::Recorded { stack, counter, per_step, next: 1 }
    }

    /// Appends a draw for `purpose` of shape `shape` (`n …`).
    pub fn normal(&mut self, graph: &mut Graph, purpose: Purpose, shape: &Shape) -> Result<Value> {
        match self {
            Self::Philox(source) => philox::normal(graph, *source, purpose, shape.clone()),
            Self::Recorded { stack, counter, per_step, next } => {
                *next += 1;
                lookup::slice(graph, *stack, *counter, *per_step, *next - 1)
            }
        }
    }
}
