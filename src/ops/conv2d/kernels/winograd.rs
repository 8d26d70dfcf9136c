//! Winograd convolutions F(2×2, 3×3) and F(4×4, 3×3): 2.25 and 4 times fewer multiplications than the direct sum.
//!
//! Tiles of the image go to the points of the transform, products of matrices run at each point, and tiles come back with
//! what follows the sum. Images are taken some tiles at a time, so that the workspaces stay small and in the caches.

use crate::fields;
use crate::gpu::{Capabilities, Const};
use crate::graph::{Candidate, Class, Launch, Operand};

use super::super::problem::{Conv, OptionalOperands, Size, Sum, WeightLayout};
use super::bind;
use super::gemm::{Gemm, Product, Transposed};

/// Bytes of both workspaces together: what a cache holds, and much less than the activations of a batch.
const WORKSPACE: usize = 24 << 20;

/// Tiles of outputs.
#[derive(Clone, Copy, Debug)]
struct Tiling {
    /// Outputs of a tile each way.
    tile: usize,
    down: usize,
    across: usize,
    /// In all images.
    count: usize,
    /// At a time.
    chunk: usize,
}

impl Tiling {
    /// Tiles of `h`×`w` outputs of `n` images, with `channels` floats per tile and point in the workspaces.
    fn new(tile: usize, [n, h, w]: [usize; 3], channels: usize) -> Self {
        let (down, across) = (h.div_ceil(tile), w.div_ceil(tile));
        let count = n * down * across;
        let points = (tile + 2) * (tile + 2);
        // A multiple of every product's rows; at least one such.
        let chunk = (WORKSPACE / (4 * points * channels) / 128 * 128).max(128);
        Self { tile, down, across, count, chunk: chunk.min(count) }
    }

    fn points(self) -> usize {
        (self.tile + 2) * (self.tile + 2)
    }

    /// First tile and number of tiles of each chunk.
    fn chunks(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.count).step_by(self.chunk).map(move |first| (first, self.chunk.min(self.count - first)))
    }

    fn constants(self, launch: Launch) -> Launch {
        launch.constants(fields! { TILE: self.tile, ALPHA: self.tile + 2 })
    }

    /// Tiles of `x` (`h`×`w`, `c` channels) from `first` on to the points, behind `before` channels of rows of `row`.
    fn spread(self, [x, v]: [Operand; 2], source: Source, (first, tiles): (usize, usize)) -> Launch {
        let Source { h, w, c, row, before, top, left, gradient, half, norm } = source;
        let count = tiles * c / 4;
        let patch = if gradient { self.tile } else { self.tile + 2 };
        let launch = self
            .constants(Launch::new("conv2d/winograd_spread.wgsl"))
            .constants(fields! { GRADIENT: gradient, HALF: half, PATCH: patch, NORM: norm.is_some() })
            .read(x);
        let launch = match norm {
            Some(Normalisation { table, silu }) => {
                launch.constants(fields! { SILU: silu, V: 4_u32 }).read(table)
            }
            None => launch,
        };
        launch
            .write(v)
            .params(fields! { count, first, tiles, c: c / 4, row: row / 4, before: before / 4 })
            .params(fields! { h: Const::I32(h as i32), w: Const::I32(w as i32), tiles_y: self.down, tiles_x: self.across })
            .params(fields! { top: Const::I32(top), left: Const::I32(left) })
            .grid(count.div_ceil(64), 1, 1)
            .flops((8 * self.points() * tiles * c) as f64)
    }
}

/// What is spread.
#[derive(Clone, Copy, Debug)]
struct Source {
    h: usize,
    w: usize,
    c: usize,
    /// Channels of a row of the workspace, and those in front.
    row: usize,
    before: usize,
    top: i32,
    left: i32,
    /// Of tiles of grad_y, which do not overlap.
    gradient: bool,
    /// To f16.
    half: bool,
    norm: Option<Normalisation>,
}

/// What pixels become when they are loaded: `(x − mean)·scale + offset`, and SiLU of it, by the table of `ops::shared::norm`.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Normalisation {
    pub(in super::super) table: Operand,
    pub(in super::super) silu: bool,
}

fn class(tile: usize) -> Class {
    if tile == 4 { Class::Winograd4 } else { Class::Winograd2 }
}

/// 3×3 kernels that neither skip nor spread, with channels in fours, by each of the device's ways to multiply.
pub(in super::super) fn candidates(
    sum: &Sum,
    tile: usize,
    device: &Capabilities,
    norm: Option<Normalisation>,
) -> Vec<Candidate> {
    let tiling = tiling(sum, tile);
    let gemms = Gemm::all(device, [tiling.points(), tiling.chunk, sum.c_out]);
    gemms.into_iter().filter_map(|gemm| candidate(sum, tile, gemm, device, norm)).collect()
}

fn tiling(sum: &Sum, tile: usize) -> Tiling {
    Tiling::new(tile, [sum.size.n, sum.size.ho, sum.size.wo], sum.c1 + sum.c2 + sum.c_out)
}

/// The same by one of them.
pub(in super::super) fn candidate(
    sum: &Sum,
    tile: usize,
    gemm: Gemm,
    device: &Capabilities,
    norm: Option<Normalisation>,
) -> Option<Candidate> {
    let Size { h, w, ho, wo, .. } = sum.size;
    let (c_in, c_out) = (sum.c1 + sum.c2, sum.c_out);
    let tiling = tiling(sum, tile);
    let half = gemm.arithmetic().is_reduced();
    let bytes = |element: u64, numbers: usize| element * (tiling.points() * numbers) as u64;
    let weights = bytes(gemm.element(), c_in * c_out);
    if !sum.is_winograd() || weights > device.max_binding {
        return None;
    }
    let count = c_in * c_out / 4;
    let packing = tiling
        .constants(Launch::new("conv2d/winograd_weight.wgsl"))
        .constant("HALF", half)
        .read(Operand::Input(sum.optional.weight()))
        .write(Operand::Prepared(0))
        .params(fields! { count, columns: c_out / 4 })
        .params(sum.strides.fields())
        .grid(count.div_ceil(64), 1, 1);
    let mut launches = Vec::new();
    for (first, tiles) in tiling.chunks() {
        let mut before = 0;
        for (i, c) in [sum.c1, sum.c2].into_iter().enumerate().filter(|&(_, c)| c > 0) {
            let (top, left) = (sum.top, sum.left);
            let source = Source { h, w, c, row: c_in, before, top, left, gradient: false, half, norm };
            let operands = [Operand::Input(i), Operand::Workspace(0)];
            launches.push(tiling.spread(operands, source, (first, tiles)));
            before += c;
        }
        let product = Product {
            batch: tiling.points(),
            m: tiles,
            k: [c_in, 0],
            n: c_out,
            image: tiles,
            scale: 1.0,
            a_as_b: true,
        };
        launches.push(gemm.product(OptionalOperands::default(), product, |launch| {
            bind::bare(launch)
                .read(Operand::Workspace(0))
                .read(Operand::Prepared(0))
                .write(Operand::Workspace(1))
        }));
        let gather = tiling.constants(Launch::new("conv2d/winograd_gather.wgsl").read(Operand::Workspace(1)));
        let count = tiles * c_out / 4;
        launches.push(
            bind::epilogue(gather, sum.optional)
                .params(fields! { count, first, tiles, c: c_out / 4, h: ho, w: wo })
                .params(fields! { tiles_y: tiling.down, tiles_x: tiling.across, scale: sum.scale })
                .params(bind::embedding(sum.optional, 4))
                .grid(count.div_ceil(64), 1, 1)
                .flops((8 * tiling.points() * tiles * c_out) as f64),
        );
    }
    let workspaces = vec![bytes(gemm.element(), tiling.chunk * c_in), bytes(4, tiling.chunk * c_out)];
    Some(gemm.named(class(tile), launches).preparing(weights, packing).with_workspaces(workspaces))
}

/// The gradient by a 3×3 weight: products of the transformed input and the transformed gradient, summed over tiles.
pub(in super::super) fn grad_weight(
    conv: &Conv,
    tile: usize,
    gemm: Gemm,
    device: &Capabilities,
    norm: Option<Normalisation>,
) -> Option<Candidate> {
    let Size { n, h, w, ho, wo } = conv.size;
    let (c_in, c_out) = (conv.c1 + conv.c2, conv.c_out);
    let tiling = Tiling::new(tile, [n, ho, wo], c_in + c_out);
    let bytes = |floats: usize| 4 * (tiling.points() * floats) as u64;
    let sums = bytes(c_in * c_out);
    if !conv.is_winograd() || sums > device.max_binding {
        return None;
    }
    let [top, _, left, _] = conv.geometry.pad.map(|p| p as i32);
    let mut launches = Vec::new();
    for (first, tiles) in tiling.chunks() {
        for (input, before, c) in conv.sources() {
            let (gradient, half) = (false, false);
            let source = Source { h, w, c, row: c_in, before, top, left, gradient, half, norm };
            let operands = [Operand::Input(input), Operand::Workspace(0)];
            launches.push(tiling.spread(operands, source, (first, tiles)));
        }
        let source = Source {
            h: ho,
            w: wo,
            c: c_out,
            row: c_out,
            before: 0,
            top: 0,
            left: 0,
            gradient: true,
            half: false,
            norm: None,
        };
        launches.push(tiling.spread([Operand::Input(0), Operand::Workspace(1)], source, (first, tiles)));
        let product = Transposed {
            batch: tiling.points(),
            k: tiles,
            m: c_in,
            n: c_out,
            chunk: tiles.next_multiple_of(2),
            add: first > 0,
        };
        let operands = [Operand::Workspace(0), Operand::Workspace(1), Operand::Workspace(2)];
        launches.push(gemm.transposed(product, operands));
    }
    let WeightLayout { per_o, per_i, per_y, per_x } = conv.layout;
    let count = c_in * c_out / 4;
    launches.push(
        tiling
            .constants(Launch::new("conv2d/winograd_grad_weight.wgsl"))
            .read(Operand::Workspace(2))
            .write(Operand::Output(0))
            .params(fields! { count, columns: c_out / 4, per_o, per_i, per_y, per_x, scale: conv.scale })
            .grid(count.div_ceil(64), 1, 1)
            .flops((8 * tiling.points() * c_in * c_out) as f64),
    );
    let workspaces = vec![bytes(tiling.chunk * c_in), bytes(tiling.chunk * c_out), sums];
    Some(gemm.named(class(tile), launches).with_workspaces(workspaces))
}
