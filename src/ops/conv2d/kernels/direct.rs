//! Pixels × channels in registers, without workgroup memory, for every shape.

use crate::fields;
use crate::gpu::Const;
use crate::graph::{Candidate, Class, Launch, Operand};

use super::super::problem::{Size, Sum};
use super::{bind, pack};

/// The sum by blocks of pixels × channels.
pub(in super::super) fn candidate(sum: &Sum) -> Candidate {
    let Size { n, h, w, ho, wo } = sum.size;
    let Sum { c1, c2, c_out, kh, kw, stride, dilation, top, left, .. } = *sum;
    // Pixels and channels in registers: fewer where there are fewer.
    let px = [8, 4, 2, 1].into_iter().find(|&p| p <= wo).unwrap_or(1);
    let oc = if c_out > 4 { 2 } else { 1 };
    let columns = c_out.next_multiple_of(4 * oc);
    let (rows1, rows2) = (c1.next_multiple_of(4), c2.next_multiple_of(4));
    let (bytes, packing) = pack::whole(sum, columns, 4);
    let blocks = n * ho * wo.div_ceil(px) * (columns / (4 * oc));
    let launch = Launch::new("conv2d/direct.wgsl")
        .constants(fields! { PX: px, OC: oc, COLS: (px - 1) * stride + (kw - 1) * dilation + 1 })
        .constants(fields! { H: h, W: w, HO: ho, WO: wo, C1: c1, C2: c2, CO: c_out })
        .constants(fields! {
            C1_EVEN: c1.is_multiple_of(4),
            C2_EVEN: c2.is_multiple_of(4),
            CO_EVEN: c_out.is_multiple_of(4),
        })
        .constants(fields! { Q0: rows1 / 4, Q1: rows2 / 4, ROWS_BEFORE0: 0_u32, ROWS_BEFORE1: rows1 })
        .constants(fields! { SOURCES: 1 + usize::from(sum.optional.second), KH: kh, KW: kw })
        .constants(
            fields! { STRIDE: stride, DILATION: dilation, TOP: Const::I32(top), LEFT: Const::I32(left) },
        );
    let lanes = if c_out.is_multiple_of(4) { 4 } else { 1 };
    let launch = bind::all(launch, sum.optional, Operand::Prepared(0))
        .params(fields! { blocks, scale: sum.scale })
        .params(bind::embedding(sum.optional, lanes))
        .grid(blocks.div_ceil(64), 1, 1)
        .flops(sum.flops());
    Candidate::of_class(Class::Direct, vec![launch])
        .variant(format!("{px}x{}", 4 * oc))
        .in_order("direct")
        .preparing(bytes, packing)
}
