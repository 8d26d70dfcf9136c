//! Packed weights: taps × input channels × output channels, channels rounded up.

use crate::fields;
use crate::graph::{Launch, Operand};

use super::super::problem::{Sum, WeightStrides};

/// A part of packed weights, in elements: where it begins, from row to row, and the columns of a row.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Region {
    pub(in super::super) first: usize,
    pub(in super::super) line: usize,
    pub(in super::super) width: usize,
}

/// Weights as taps × input channels × `columns` elements of 4 or 2 bytes: their bytes, and the launch that packs the weight into
/// prepared buffer 0.
pub(in super::super) fn whole(sum: &Sum, columns: usize, element: u64) -> (u64, Launch) {
    let bytes = element * (sum.kh * sum.kw * rows(sum) * columns) as u64;
    let region = Region { first: 0, line: columns, width: columns };
    (bytes, part(sum, [Operand::Input(sum.optional.weight()), Operand::Prepared(0)], region, element))
}

/// Input channels of packed weights.
pub(in super::super) fn rows(sum: &Sum) -> usize {
    sum.c1.next_multiple_of(4) + sum.c2.next_multiple_of(4)
}

/// The launch that packs a weight into a part of a buffer.
pub(in super::super) fn part(sum: &Sum, [weight, packed]: [Operand; 2], to: Region, element: u64) -> Launch {
    let rows = rows(sum);
    let count = sum.kh * sum.kw * rows * to.width;
    Launch::new("conv2d/pack.wgsl")
        .constant("HALF", element == 2)
        .read(weight)
        .write(packed)
        .params(fields! { count, rows, width: to.width, line: to.line, before: to.first, kw: sum.kw })
        .params(fields! { c1: sum.c1, c1_rounded: sum.c1.next_multiple_of(4), c2: sum.c2, c_out: sum.c_out })
        .params(sum.strides.fields())
        .grid(count.div_ceil(64), 1, 1)
}

/// The launch that copies a vector of `width` numbers to a part of another.
pub(in super::super) fn vector([from, to]: [Operand; 2], first: usize, width: usize) -> Launch {
    Launch::new("conv2d/pack.wgsl")
        .constant("HALF", false)
        .read(from)
        .write(to)
        .params(fields! { count: width, rows: 1_u32, width, line: width, before: first, kw: 1_u32 })
        .params(fields! { c1: 1_u32, c1_rounded: 1_u32, c2: 0_u32, c_out: width })
        .params(WeightStrides::packed(0).fields())
        .grid(width.div_ceil(64), 1, 1)
}
