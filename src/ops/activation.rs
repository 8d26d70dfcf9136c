//! The authors' activations, element by element.

use crate::error::Result;
use crate::gpu::Capabilities;
use crate::graph::{Candidate, Gradients, Graph, Io, Node, Op, Value};

use super::shared::flat::elementwise;

/// A function applied to every element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// x·sigmoid(x), called swish by the authors (Elfwing et al. 2018).
    Silu,
    /// x above zero, exp(x) − 1 below (Clevert et al. 2016).
    Elu,
    /// x above zero, 0 below.
    Relu,
    /// x above zero, 0.2·x below: the authors' `lrelu`.
    LeakyRelu,
}

impl Activation {
    /// The number by which shaders know it.
    fn kind(self) -> usize {
        match self {
            Self::Silu => 0,
            Self::Elu => 1,
            Self::Relu => 2,
            Self::LeakyRelu => 3,
        }
    }
}

/// `f(x)` of every element, in a tensor of the shape of `x`.
///
/// # Errors
/// None today; a [`Result`] as every op's.
pub fn activation(graph: &mut Graph, x: Value, f: Activation) -> Result<Value> {
    let shape = graph.shape(x).clone();
    Ok(graph.push1(Forward(f), &[x], shape))
}

/// Multiplications, exponentials and quotients of one element, roughly.
const FLOPS: f64 = 6.0;

#[derive(Debug)]
struct Forward(Activation);

impl Op for Forward {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        vec![candidate("activation/forward.wgsl", self.0, io)]
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        node.by_first(|| {
            let shape = graph.shape(grad_y).clone();
            Ok(graph.push1(Backward(self.0), &[grad_y, node.inputs[0]], shape))
        })
    }

    fn flops(&self, io: &Io) -> f64 {
        FLOPS * io.output(0).elements() as f64
    }
}

/// `grad_y·f'(x)` from `grad_y` and `x`.
#[derive(Debug)]
struct Backward(Activation);

impl Op for Backward {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        vec![candidate("activation/backward.wgsl", self.0, io)]
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }

    fn flops(&self, io: &Io) -> f64 {
        FLOPS * io.output(0).elements() as f64
    }
}

/// One launch over all elements.
fn candidate(shader: &'static str, f: Activation, io: &Io) -> Candidate {
    let flops = FLOPS * io.output(0).elements() as f64;
    Candidate::plain(vec![elementwise(shader, io).constant("KIND", f.kind()).flops(flops)])
}
