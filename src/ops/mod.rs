//! One file per op: shape rule, backward, kernel candidates.
//!
//! An op is a function that checks shapes and appends to the [`Graph`], and a type that implements
//! [`Op`](crate::graph::Op). Its kernels are in `shaders/<op>/`, its test in `kernels-tests/ops/<op>.rs`, its f64 reference in
//! `kernels-tests/reference/<op>.rs`. No op knows another op's file; a backward calls ops by their functions.
//!
//! ```
//! use langevin::graph::Graph;
//! use langevin::ops::elementwise::add;
//!
//! let mut graph = Graph::new();
//! let (x, y) = (graph.input("x", [2, 3]), graph.input("y", [3, 2]));
//! // Shapes are checked when an op is appended.
//! assert!(add(&mut graph, x, y).is_err());
//! ```

pub mod activation;
pub mod adam;
pub mod attention;
pub mod bilinear;
pub mod broadcast;
pub mod clip;
pub mod column_sum;
pub mod concat;
pub mod conv2d;
pub mod cross_entropy;
pub mod dropout;
pub mod elementwise;
pub mod ema;
pub mod embedding;
pub mod gather;
pub mod group_norm;
pub mod instance_norm;
pub mod lookup;
pub mod peak;
pub mod philox;
pub mod pool;
pub mod reciprocal;
pub mod reduce;
pub mod resample;
pub mod runge_kutta;
pub mod sampler_step;
pub mod softmax;
pub mod upfirdn2d;

mod shared;

use crate::error::Result;
use crate::graph::{Graph, Value};

/// Invocations in a workgroup of the flat kernels.
const FLAT: usize = 256;

/// How many elements a flat kernel takes at once: 4 where they come out even, so that nothing is written past the end.
fn lanes(elements: usize) -> usize {
    if elements.is_multiple_of(4) { 4 } else { 1 }
}

impl Graph {
    /// Appends the gradient of `Σ seed·value` over `seeds` (value, seed) by each value of `wrt`; nothing is appended for any other.
    /// `None` where nothing depends on the value.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when a seed has not its value's shape.
    pub fn backward(&mut self, seeds: &[(Value, Value)], wrt: &[Value]) -> Result<Vec<Option<Value>>> {
        self.differentiate(seeds, wrt, elementwise::add, false)
    }

    /// The same, bit for bit, by less memory and more work: what lies inside the segments of the forward pass is computed again
    /// when the backward pass comes to it, rather than kept.
    ///
    /// # Errors
    /// As [`Graph::backward`].
    pub fn backward_recomputing(
        &mut self,
        seeds: &[(Value, Value)],
        wrt: &[Value],
    ) -> Result<Vec<Option<Value>>> {
        self.differentiate(seeds, wrt, elementwise::add, true)
    }
}
