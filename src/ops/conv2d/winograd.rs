//! Winograd convolutions F(2×2, 3×3) and F(4×4, 3×3): 2.25 and 4 times fewer multiplications than the direct sum.
//!
//! Tiles of the image go to the points of the transform, products of matrices run at each point, and tiles come back with
//! what follows the sum. Images are taken some tiles at a time, so that the workspaces stay small and in the caches.

use crate::gpu::{Capabilities, DeviceKind};
use crate::graph::{Candidate, Launch, Operand};

use super::gemm::{Gemm, Product, Transposed};
use super::gradient::GradWeight;
use super::sum::{Has, Layout, Size, Sum};

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
        launch.constant("TILE", self.tile).constant("ALPHA", self.tile + 2)
    }

    /// Tiles of `x` (`h`×`w`, `c` channels) from `first` on to the points, behind `before` channels of rows of `row`.
    fn spread(self, [x, v]: [Operand; 2], source: Source, (first, tiles): (usize, usize)) -> Launch {
        let Source { h, w, c, row, before, top, left, gradient, half, norm } = source;
        let count = tiles * c / 4;
        let launch = self
            .constants(Launch::new("conv2d/winograd_spread.wgsl"))
            .constant("GRADIENT", gradient)
            .constant("HALF", half)
            .constant("PATCH", if gradient { self.tile } else { self.tile + 2 })
            .constant("NORM", norm.is_some())
            .read(x);
        let launch = match norm {
            Some(Normalise { table, silu }) => {
                launch.constant("SILU", silu).constant("V", 4_usize).read(table)
            }
            None => launch,
        };
        let launch = launch.write(v);
        [count, first, tiles, c / 4, row / 4, before / 4, h, w, self.down, self.across]
            .into_iter()
            .fold(launch, Launch::word)
            .word(top as usize)
            .word(left as usize)
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
    norm: Option<Normalise>,
}

/// What pixels become when they are loaded: `(x − mean)·scale + offset`, and SiLU of it, by the table of `ops::shared::norm`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Normalise {
    pub(super) table: Operand,
    pub(super) silu: bool,
}

/// The tile that needs fewer multiplications; the larger where both need the same.
pub(super) fn better_tile(size: Size) -> usize {
    let products = |tile: usize| size.ho.div_ceil(tile) * size.wo.div_ceil(tile) * (tile + 2) * (tile + 2);
    if products(4) <= products(2) { 4 } else { 2 }
}

/// Weights at the points of F(4,3) above this many bytes do not stay in a processor's cache.
const CACHED: usize = 16 << 20;

fn class(tile: usize) -> &'static str {
    if tile == 4 { "winograd4" } else { "winograd2" }
}

impl Sum {
    /// The tile that the written order takes. On a processor, images of a few tiles read weights rather than multiply by them: for one tile,
    /// and for up to four where the weights do not stay in its cache, F(2,3) is faster, which has 16 numbers for 9 in place of 36.
    pub(super) fn winograd_tile(&self, device: &Capabilities) -> usize {
        let tiles = self.size.ho.div_ceil(4) * self.size.wo.div_ceil(4);
        let weights = 4 * 36 * (self.c1 + self.c2) * self.c_out;
        let reads = tiles == 1 || (tiles <= 4 && weights > CACHED);
        if device.kind == DeviceKind::Software && reads { 2 } else { better_tile(self.size) }
    }

    /// 3×3 kernels that neither skip nor spread, with channels in fours.
    pub(super) fn winograd(
        &self,
        tile: usize,
        gemm: Gemm,
        device: &Capabilities,
        norm: Option<Normalise>,
    ) -> Option<Candidate> {
        let Size { n, h, w, ho, wo } = self.size;
        let same = (self.kh, self.kw, self.stride, self.dilation) == (3, 3, 1, 1) && self.in_fours();
        let (c_in, c_out) = (self.c1 + self.c2, self.c_out);
        let tiling = Tiling::new(tile, [n, ho, wo], c_in + c_out);
        let half = gemm.arithmetic().is_reduced();
        let bytes = |element: u64, numbers: usize| element * (tiling.points() * numbers) as u64;
        let weights = bytes(gemm.element(), c_in * c_out);
        if !same || weights > device.max_binding {
            return None;
        }
        let [first, per_o, per_i, per_y, per_x] = self.strides;
        let count = c_in * c_out / 4;
        let mut pack = tiling
            .constants(Launch::new("conv2d/winograd_weight.wgsl"))
            .constant("HALF", half)
            .read(Operand::Input(self.has.weight()))
            .write(Operand::Prepared(0))
            .word(count)
            .word(c_out / 4);
        for stride in [first, per_o, per_i, per_y, per_x] {
            pack = pack.word(stride as usize);
        }
        let mut launches = Vec::new();
        for (first, tiles) in tiling.chunks() {
            let mut before = 0;
            for (i, c) in [self.c1, self.c2].into_iter().enumerate().filter(|&(_, c)| c > 0) {
                let (top, left) = (self.top, self.left);
                let source = Source { h, w, c, row: c_in, before, top, left, gradient: false, half, norm };
                launches.push(tiling.spread(
                    [Operand::Input(i), Operand::Workspace(0)],
                    source,
                    (first, tiles),
                ));
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
            launches.push(gemm.product(Has::default(), product, |l| {
                l.read(Operand::Workspace(0)).read(Operand::Prepared(0)).write(Operand::Workspace(1))
            }));
            let gather =
                tiling.constants(Launch::new("conv2d/winograd_gather.wgsl").read(Operand::Workspace(1)));
            let count = tiles * c_out / 4;
            let gather = [count, first, tiles, c_out / 4, ho, wo, tiling.down, tiling.across]
                .into_iter()
                .fold(self.has.epilogue(self.has.epilogue_constants(gather)), Launch::word);
            launches.push(
                self.has
                    .words(gather.float(self.scale), 4)
                    .grid(count.div_ceil(64), 1, 1)
                    .flops((8 * tiling.points() * tiles * c_out) as f64),
            );
        }
        let (class, variant) = gemm.name(class(tile));
        Some(Candidate {
            class,
            variant,
            arithmetic: gemm.arithmetic(),
            prepared: vec![weights],
            prepare: vec![pack.grid(count.div_ceil(64), 1, 1)],
            workspaces: vec![bytes(gemm.element(), tiling.chunk * c_in), bytes(4, tiling.chunk * c_out)],
            launches,
        })
    }
}

impl GradWeight {
    /// The gradient by a 3×3 weight: products of the transformed input and the transformed gradient, summed over tiles.
    pub(super) fn winograd(
        &self,
        tile: usize,
        gemm: Gemm,
        device: &Capabilities,
        norm: Option<Normalise>,
    ) -> Option<Candidate> {
        let c = &self.conv;
        let Size { n, h, w, ho, wo } = c.size;
        let same = (c.kh, c.kw, c.geometry.stride, c.geometry.dilation) == (3, 3, 1, 1);
        let fours = [c.c1, c.c2, c.c_out].iter().all(|c| c.is_multiple_of(4));
        let c_in = c.c1 + c.c2;
        let tiling = Tiling::new(tile, [n, ho, wo], c_in + c.c_out);
        let bytes = |floats: usize| 4 * (tiling.points() * floats) as u64;
        let sums = bytes(c_in * c.c_out);
        if !same || !fours || sums > device.max_binding {
            return None;
        }
        let [top, _, left, _] = c.geometry.pad.map(|p| p as i32);
        let mut launches = Vec::new();
        for (first, tiles) in tiling.chunks() {
            let mut before = 0;
            for (i, channels) in [c.c1, c.c2].into_iter().enumerate().filter(|&(_, c)| c > 0) {
                let (gradient, half) = (false, false);
                let source = Source { h, w, c: channels, row: c_in, before, top, left, gradient, half, norm };
                let operands = [Operand::Input(1 + i), Operand::Workspace(0)];
                launches.push(tiling.spread(operands, source, (first, tiles)));
                before += channels;
            }
            let c_out = c.c_out;
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
        let Layout { per_o, per_i, per_y, per_x } = c.layout;
        let count = c_in * c.c_out / 4;
        let gather = tiling
            .constants(Launch::new("conv2d/winograd_grad_weight.wgsl"))
            .read(Operand::Workspace(2))
            .write(Operand::Output(0));
        launches.push(
            [count, c.c_out / 4, per_o, per_i, per_y, per_x]
                .into_iter()
                .fold(gather, Launch::word)
                .float(c.scale)
                .grid(count.div_ceil(64), 1, 1)
                .flops((8 * tiling.points() * c_in * c.c_out) as f64),
        );
        let workspaces = vec![bytes(tiling.chunk * c_in), bytes(tiling.chunk * c.c_out), sums];
        let mut candidate = Candidate::plain(launches).with_workspaces(workspaces);
        (candidate.class, candidate.variant) = gemm.name(class(tile));
        Some(candidate)
    }
}
