//! One over each element, bounded.

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::Capabilities;
use crate::graph::{Candidate, Gradients, Graph, Io, Node, Op, Operand, Value};

use super::lanes;
use super::shared::flat::flat;

/// `1/max(x, floor)` of every element, in a tensor of the shape of `x`. Where the floor holds the gradient is 0.
///
/// # Errors
/// [`Error::Invalid`] when the floor is not a positive normal number.
pub fn reciprocal(graph: &mut Graph, x: Value, floor: f32) -> Result<Value> {
    if !(floor.is_normal() && floor > 0.0) {
        return Err(Error::invalid("reciprocal floor", floor, "give a positive number, at least 1.2e-38"));
    }
    let shape = graph.shape(x).clone();
    Ok(graph.push1(Forward { floor }, &[x], shape))
}

/// One launch over all elements, of `flops` for each.
fn candidate(shader: &'static str, io: &Io, floor: f32, flops: f64) -> Candidate {
    let elements = io.output(0).elements();
    let v = lanes(elements);
    let launch = flat(shader, elements / v)
        .constant("V", v)
        .read_inputs(0..io.inputs.len())
        .write(Operand::Output(0))
        .params(fields! { least: floor })
        .flops(flops * elements as f64);
    Candidate::plain(vec![launch])
}

#[derive(Debug)]
struct Forward {
    floor: f32,
}

impl Op for Forward {
    fn name(&self) -> &'static str {
        "reciprocal"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        vec![candidate("reciprocal/forward.wgsl", io, self.floor, 1.0)]
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        node.by_first(|| {
            let shape = graph.shape(grad_y).clone();
            Ok(graph.push1(Backward { floor: self.floor }, &[grad_y, node.inputs[0]], shape))
        })
    }
}

/// `-grad_y/x²` above the floor, 0 elsewhere.
#[derive(Debug)]
struct Backward {
    floor: f32,
}

impl Op for Backward {
    fn name(&self) -> &'static str {
        "reciprocal"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        vec![candidate("reciprocal/backward.wgsl", io, self.floor, 3.0)]
    }
}
