//! The operands of a node as its op sees them.

use super::shape::{Shape, Tensor};

/// The operands of a node as its op sees them when it lists its candidates.
#[derive(Clone, Debug)]
pub struct Io {
    /// Operands read (and, where [`Op::mutates`](super::Op::mutates) says so, written).
    pub inputs: Vec<Tensor>,
    /// Results.
    pub outputs: Vec<Tensor>,
    /// True when output 0 shares the memory of the input that [`Op::in_place`](super::Op::in_place) names. A candidate then binds
    /// `Operand::Output(0)` as `read_write` and does not bind that input, since no buffer may be bound twice.
    pub in_place: bool,
}

impl Io {
    /// Shape of input `i`.
    pub fn input(&self, i: usize) -> &Shape {
        &self.inputs[i].shape
    }

    /// Shape of output `i`.
    pub fn output(&self, i: usize) -> &Shape {
        &self.outputs[i].shape
    }
}
