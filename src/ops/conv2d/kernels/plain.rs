//! One output at a time, for every shape.

use crate::fields;
use crate::gpu::Const;
use crate::graph::{Candidate, Launch, Operand};

use super::super::problem::{Size, Sum};
use super::bind;

/// The sum as it is written; with `gradient` over the outputs of a convolution that reach an input.
pub(in super::super) fn candidate(sum: &Sum, gradient: bool) -> Candidate {
    let Size { h, w, ho, wo, .. } = sum.size;
    let Sum { c1, c2, c_out, kh, kw, top, left, .. } = *sum;
    let outputs = sum.pixels() * c_out;
    let launch = Launch::new("conv2d/plain.wgsl").constant("GRADIENT", gradient);
    let launch = bind::all(launch, sum.optional, Operand::Input(sum.optional.weight()))
        .params(fields! { outputs, h: Const::I32(h as i32), w: Const::I32(w as i32), c1, c2, ho, wo, c_out, kh, kw })
        .params(fields! { stride: Const::I32(sum.stride as i32), dilation: Const::I32(sum.dilation as i32), top: Const::I32(top), left: Const::I32(left) })
        .params(sum.strides.fields())
        .params(fields! { scale: sum.scale })
        .params(bind::embedding(sum.optional, 1))
        .grid(outputs.div_ceil(64), 1, 1)
        .flops(sum.flops());
    Candidate::plain(vec![launch])
}
