//! One over each element, bounded.

use crate::error::{Error, Result};
use crate::gpu::Capabilities;
use crate::graph::{Candidate, Graph, Io, Launch, Node, Op, Operand, Value};

use super::{flat_groups, lanes};

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

#[derive(Debug)]
struct Forward {
    floor: f32,
}

impl Op for Forward {
    fn stem(&self) -> &'static str {
        "reciprocal"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let elements = io.output(0).elements();
        let v = lanes(elements);
        let launch = Launch::new("reciprocal/forward.wgsl")
            .constant("V", v)
            .read(Operand::Input(0))
            .write(Operand::Output(0))
            .word(elements / v)
            .float(self.floor)
            .grid(flat_groups(elements, v), 1, 1)
            .flops(elements as f64);
        vec![Candidate::plain(vec![launch])]
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: Node<'_>,
        grads: &[Option<Value>],
        needs: &[bool],
    ) -> Result<Vec<Option<Value>>> {
        let (Some(grad_y), true) = (grads[0], needs[0]) else { return Ok(vec![None]) };
        let shape = graph.shape(grad_y).clone();
        let op = Backward { floor: self.floor };
        Ok(vec![Some(graph.push1(op, &[grad_y, node.inputs[0]], shape))])
    }
}

/// `-grad_y/x²` above the floor, 0 elsewhere.
#[derive(Debug)]
struct Backward {
    floor: f32,
}

impl Op for Backward {
    fn stem(&self) -> &'static str {
        "reciprocal"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let elements = io.output(0).elements();
        let v = lanes(elements);
        let launch = Launch::new("reciprocal/backward.wgsl")
            .constant("V", v)
            .read(Operand::Input(0))
            .read(Operand::Input(1))
            .write(Operand::Output(0))
            .word(elements / v)
            .float(self.floor)
            .grid(flat_groups(elements, v), 1, 1)
            .flops(3.0 * elements as f64);
        vec![Candidate::plain(vec![launch])]
    }

    fn backward(
        &self,
        _: &mut Graph,
        _: Node<'_>,
        _: &[Option<Value>],
        _: &[bool],
    ) -> Result<Vec<Option<Value>>> {
        let remedy = "differentiate once";
        Err(Error::shape("reciprocal", "its gradient has no gradient of its own", remedy))
    }
}
