//! Softmax over the last axis.

use crate::error::{Error, Result};
use crate::gpu::Capabilities;
use crate::graph::{Candidate, Gradients, Graph, Io, Node, Op, Value};

use super::shared::flat::by_row;

/// `exp(x)/Σ exp(x)` over the last axis of `x`, in a tensor of its shape.
///
/// # Errors
/// [`Error::Shape`] when `x` is empty.
pub fn softmax(graph: &mut Graph, x: Value) -> Result<Value> {
    let shape = graph.shape(x).clone();
    if shape.elements() == 0 {
        let problem = format!("{} is {shape}", graph.name(x));
        return Err(Error::shape("softmax", problem, "give rows with at least one number"));
    }
    Ok(graph.push1(Forward, &[x], shape))
}

/// A launch over all rows, of `flops` for each number.
fn candidate(shader: &'static str, io: &Io, flops: f64) -> Candidate {
    let shape = io.output(0);
    Candidate::plain(vec![by_row(shader, io, shape).flops(flops * shape.elements() as f64)])
}

#[derive(Debug)]
struct Forward;

impl Op for Forward {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        vec![candidate("softmax/forward.wgsl", io, 5.0)]
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        node.by_first(|| {
            let shape = graph.shape(grad_y).clone();
            Ok(graph.push1(Backward, &[grad_y, node.outputs[0]], shape))
        })
    }

    fn flops(&self, io: &Io) -> f64 {
        5.0 * io.output(0).elements() as f64
    }
}

/// From grad_y and y.
#[derive(Debug)]
struct Backward;

impl Op for Backward {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        vec![candidate("softmax/backward.wgsl", io, 4.0)]
    }

    fn flops(&self, io: &Io) -> f64 {
        4.0 * io.output(0).elements() as f64
    }
}
