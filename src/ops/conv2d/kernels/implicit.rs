//! Convolutions as products of matrices that are never stored (implicit GEMM), whole or split over the terms of their sums.

use crate::fields;
use crate::gpu::{Capabilities, Const};
use crate::graph::{Candidate, Class, Launch, Operand};
use crate::ops::shared::tile::{BUSY, Tile};

use super::super::problem::{Conv, OptionalOperands, Size, Sum};
use super::{bind, grad_weight, pack};

/// Bytes of the parts of a split sum: those of some images, which a cache holds and which keep a GPU at work.
const WORKSPACE: usize = 4 << 20;
/// Fewest steps of a part, below which the second stage costs more than the first one gains.
const STEPS: usize = 4;
/// Most parts, and the fewest that are worth a second stage.
const PARTS: usize = 16;
const FEWEST: usize = 4;

/// The pixels of one launch, and the parts of their sums.
#[derive(Clone, Copy, Debug)]
struct Share {
    first: usize,
    pixels: usize,
    parts: usize,
    /// Of a part.
    steps: usize,
}

/// Steps over all channels of all taps.
fn steps(sum: &Sum, tile: Tile) -> usize {
    let channels = tile.channels();
    sum.kh * sum.kw * (sum.c1.div_ceil(channels) + sum.c2.div_ceil(channels))
}

/// Kernels of any size but plain products, with channels in fours; with `gradient` what [`super::plain::candidate`] means by it.
pub(in super::super) fn candidate(sum: &Sum, tile: Tile, gradient: bool) -> Option<Candidate> {
    if sum.is_product() || !sum.in_fours() {
        return None;
    }
    let (bytes, packing) = pack::whole(sum, sum.c_out, tile.element());
    let share = Share { first: 0, pixels: sum.pixels(), parts: 1, steps: steps(sum, tile) };
    let launch = product(sum, tile, sum.optional, share).constant("GRADIENT", gradient);
    let launch = bind::all(launch, sum.optional, Operand::Prepared(0));
    Some(tile.named(Class::Implicit, vec![launch]).preparing(bytes, packing))
}

/// The same in two stages, where one image has too few tiles for a GPU and its sums are long. Into how many parts is decided
/// by one image, so that its bits are the same in every batch.
pub(in super::super) fn split(sum: &Sum) -> Option<Candidate> {
    let Size { ho, wo, .. } = sum.size;
    // A row of a dense layer may be an image: there one tile stands for all of them.
    let pixels = if sum.is_product() { 1 } else { ho * wo };
    let tile = if pixels > 32 { Tile::MEDIUM } else { Tile::SMALL };
    let tiles = pixels.div_ceil(tile.rows) * sum.c_out.div_ceil(tile.columns);
    let all = steps(sum, tile);
    let steps = all.div_ceil((BUSY / tiles).min(all / STEPS).clamp(1, PARTS));
    let parts = all.div_ceil(steps);
    if parts < FEWEST || !sum.in_fours() {
        return None;
    }
    let (bytes, packing) = pack::whole(sum, sum.c_out, tile.element());
    let at_once = (WORKSPACE / (4 * parts * sum.c_out) / 64 * 64).max(64).min(sum.pixels());
    let mut launches = Vec::new();
    for first in (0..sum.pixels()).step_by(at_once) {
        let share = Share { first, pixels: at_once.min(sum.pixels() - first), parts, steps };
        let bare = OptionalOperands { second: sum.optional.second, ..OptionalOperands::default() };
        let launch = product(sum, tile, bare, share).constant("GRADIENT", false);
        let launch = launch.constants(fields! { BIAS: false, TEMB: false, RESIDUAL: false });
        let launch = bind::sources(launch, bare).read(Operand::Prepared(0));
        launches.push(launch.write(Operand::Workspace(0)));
        launches.push(sum_of_parts(sum, share));
    }
    let split = Candidate::of_class(Class::Implicit, launches)
        .variant(format!("{} in {parts}", tile.name()))
        .with_workspaces(vec![4 * (parts * at_once * sum.c_out) as u64]);
    Some(split.preparing(bytes, packing))
}

/// The first stage, or all of it where there is one part. The caller binds.
fn product(sum: &Sum, tile: Tile, optional: OptionalOperands, share: Share) -> Launch {
    let Size { h, w, ho, wo, .. } = sum.size;
    let Sum { c1, c2, c_out, kh, kw, stride, dilation, top, left, .. } = *sum;
    let Share { first, pixels, parts, steps } = share;
    let tiles_m = pixels.div_ceil(tile.rows);
    // What follows the sum stands behind the last stage.
    let scale = if parts == 1 { sum.scale } else { 1.0 };
    tile.constants(Launch::new("conv2d/implicit.wgsl"))
        .constants(fields! { H: h, W: w, HO: ho, WO: wo, C1: c1, C2: c2, CO: c_out, KH: kh, KW: kw })
        .constants(fields! { STRIDE: stride, DILATION: dilation, LOADS: tile.loads(), TOP: Const::I32(top), LEFT: Const::I32(left) })
        .constant("MORE", optional.more_outputs)
        .params(fields! { tiles_m, m: pixels, first, n: c_out / 4, image: ho * wo, steps, scale })
        .params(bind::embedding(optional, 4))
        .grid(parts * tiles_m * c_out.div_ceil(tile.columns), 1, 1)
        .flops(sum.flops() * pixels as f64 / sum.pixels() as f64)
}

/// The second stage: adds the parts in their order.
fn sum_of_parts(sum: &Sum, share: Share) -> Launch {
    let Share { first, pixels, parts, .. } = share;
    let count = pixels * sum.c_out / 4;
    let launch = Launch::new("conv2d/split_sum.wgsl").constant("MORE", sum.optional.more_outputs);
    bind::epilogue(launch.read(Operand::Workspace(0)), sum.optional)
        .params(fields! { count, parts, first, m: sum.pixels(), n: sum.c_out / 4 })
        .params(fields! { image: sum.size.ho * sum.size.wo, scale: sum.scale })
        .params(bind::embedding(sum.optional, 4))
        .grid(count.div_ceil(64), 1, 1)
        .flops((4 * count * parts) as f64)
}

/// The gradient by a weight of any size, with channels in fours: partial sums over chunks of pixels, then their sum.
pub(in super::super) fn grad_weight(conv: &Conv, tile: Tile, device: &Capabilities) -> Option<Candidate> {
    if !conv.in_fours() {
        return None;
    }
    let Size { n, h, w, ho, wo } = conv.size;
    let Conv { c_out, kh, kw, .. } = *conv;
    let (taps, pixels) = (kh * kw, n * ho * wo);
    let [top, _, left, _] = conv.geometry.pad.map(|p| p as i32);
    let mut workspace = 0;
    let mut launches = Vec::new();
    for (input, first, c_in) in conv.sources() {
        let one = taps * c_in * c_out;
        let (chunks, chunk) = grad_weight::chunks(one, pixels, device);
        workspace = workspace.max(4 * (one * chunks) as u64);
        launches.push(
            Launch::new("conv2d/implicit_grad_weight.wgsl")
                .constants(fields! { BM: tile.rows, BN: tile.columns, H: h, W: w, HO: ho, WO: wo })
                .constants(fields! { C: c_in, CO: c_out, KH: kh, KW: kw, TOP: Const::I32(top), LEFT: Const::I32(left) })
                .constants(fields! { STRIDE: conv.geometry.stride, DILATION: conv.geometry.dilation })
                .read(Operand::Input(input))
                .read(Operand::Input(0))
                .write(Operand::Workspace(0))
                .params(fields! { k: pixels, chunk })
                .grid(chunks * taps * c_in.div_ceil(tile.rows) * c_out.div_ceil(tile.columns), 1, 1)
                .flops(2.0 * (pixels * one) as f64),
        );
        launches.push(grad_weight::sum_of_chunks(conv, chunks, [c_in, c_out], first, c_in));
    }
    Some(tile.named(Class::Implicit, launches).with_workspaces(vec![workspace]))
}
