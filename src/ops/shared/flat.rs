//! Launches of kernels whose invocations take one element each, and of kernels whose workgroups take one row each.

use std::ops::Range;

use crate::fields;
use crate::gpu::Const;
use crate::graph::{Io, Launch, Operand, Shape};
use crate::ops::{FLAT, lanes};

/// A launch of `count` invocations, each with an element of its own. `count` is the first field of the uniform block.
pub(in crate::ops) fn flat(shader: &'static str, count: usize) -> Launch {
    Launch::new(shader).params(fields! { count }).grid(count.div_ceil(FLAT), 1, 1)
}

/// A flat launch over the elements of output 0 that reads all inputs. Where the output took over the memory of input 0, the shader is told
/// by `IN_PLACE` and that input is not bound.
pub(in crate::ops) fn elementwise(shader: &'static str, io: &Io) -> Launch {
    let elements = io.output(0).elements();
    let v = lanes(elements);
    flat(shader, elements / v)
        .constant("V", v)
        .read_or_in_place(io)
        .read_inputs(1..io.inputs.len())
        .write(Operand::Output(0))
        .flops(elements as f64)
}

/// A launch of a workgroup for each row of `shape`; it reads all inputs and writes output 0.
pub(in crate::ops) fn by_row(shader: &'static str, io: &Io, shape: &Shape) -> Launch {
    let width = shape.last();
    Launch::new(shader)
        .read_inputs(0..io.inputs.len())
        .write(Operand::Output(0))
        .params(fields! { width })
        .grid(shape.elements() / width, 1, 1)
}

/// The fields `k0`, `k1`, …: a factor for each term of a sum of up to four.
pub(in crate::ops) fn factors(values: &[f32]) -> impl Iterator<Item = (&'static str, Const)> {
    ["k0", "k1", "k2", "k3"].into_iter().zip(values.iter().map(|&k| Const::F32(k)))
}

impl Launch {
    /// The next bindings: these inputs, for reading.
    pub(in crate::ops) fn read_inputs(self, inputs: Range<usize>) -> Self {
        inputs.map(Operand::Input).fold(self, Self::read)
    }

    /// The next binding: input 0, unless output 0 took over its memory. `IN_PLACE` tells the shader.
    pub(in crate::ops) fn read_or_in_place(self, io: &Io) -> Self {
        let launch = self.constant("IN_PLACE", io.in_place);
        if io.in_place { launch } else { launch.read(Operand::Input(0)) }
    }
}
