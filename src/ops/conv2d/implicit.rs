//! Convolutions as products of matrices that are never stored (implicit GEMM), whole or split over the terms of their sums.

use crate::gpu::{Capabilities, Const};
use crate::graph::{Candidate, Launch, Operand};
use crate::ops::shared::tile::Tile;

use super::gradient::{GradWeight, chunks};
use super::sum::{Has, Size, Sum};

/// Bytes of the parts of a split sum: those of some images, which a cache holds and which keep a GPU at work.
const WORKSPACE: usize = 4 << 20;
/// Tiles that keep a GPU at work: fewer are a reason to split.
const BUSY: usize = 64;
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

impl Sum {
    fn pixels(&self) -> usize {
        self.size.n * self.size.ho * self.size.wo
    }

    /// Steps over all channels of all taps.
    fn steps(&self, tile: Tile) -> usize {
        let channels = tile.channels();
        self.kh * self.kw * (self.c1.div_ceil(channels) + self.c2.div_ceil(channels))
    }

    /// A 1×1 kernel over all pixels is a product of stored matrices, which `gemm` multiplies without a pixel's coordinates.
    fn is_plain_product(&self) -> bool {
        let Size { h, w, ho, wo, .. } = self.size;
        self.kh * self.kw == 1 && self.stride == 1 && (self.top, self.left) == (0, 0) && (h, w) == (ho, wo)
    }

    /// Kernels of any size, with channels in fours; with `gradient` what [`Sum::plain`] means by it.
    pub(super) fn implicit(&self, tile: Tile, gradient: bool) -> Option<Candidate> {
        if self.is_plain_product() || !self.in_fours() {
            return None;
        }
        let (bytes, pack) = self.pack(self.c_out, tile.element());
        let share = Share { first: 0, pixels: self.pixels(), parts: 1, steps: self.steps(tile) };
        let launch = self.product(tile, self.has, share).constant("GRADIENT", gradient);
        Some(Candidate {
            class: tile.class("implicit"),
            variant: tile.variant("implicit"),
            arithmetic: tile.arithmetic,
            prepared: vec![bytes],
            prepare: vec![pack],
            workspaces: Vec::new(),
            launches: vec![self.has.operands(launch, Operand::Prepared(0))],
        })
    }

    /// The same in two stages, where one image has too few tiles for a GPU and its sums are long. Into how many parts is decided
    /// by one image, so that its bits are the same in every batch.
    pub(super) fn split(&self) -> Option<Candidate> {
        let Size { ho, wo, .. } = self.size;
        // A row of a dense layer may be an image: there one tile stands for all of them.
        let pixels = if self.is_plain_product() { 1 } else { ho * wo };
        let tile = if pixels > 32 { Tile::MEDIUM } else { Tile::SMALL };
        let tiles = pixels.div_ceil(tile.rows) * self.c_out.div_ceil(tile.columns);
        let all = self.steps(tile);
        let steps = all.div_ceil((BUSY / tiles).min(all / STEPS).clamp(1, PARTS));
        let parts = all.div_ceil(steps);
        if parts < FEWEST || !self.in_fours() {
            return None;
        }
        let (bytes, pack) = self.pack(self.c_out, tile.element());
        let at_once = (WORKSPACE / (4 * parts * self.c_out) / 64 * 64).max(64).min(self.pixels());
        let mut launches = Vec::new();
        for first in (0..self.pixels()).step_by(at_once) {
            let share = Share { first, pixels: at_once.min(self.pixels() - first), parts, steps };
            let bare = Has { second: self.has.second, ..Has::default() };
            let launch = self.has.sources(self.product(tile, bare, share)).constant("GRADIENT", false);
            launches.push(launch.read(Operand::Prepared(0)).write(Operand::Workspace(0)));
            launches.push(self.sum_of_parts(share));
        }
        Some(Candidate {
            class: "implicit",
            variant: format!("{} in {parts}", tile.name()),
            arithmetic: tile.arithmetic,
            prepared: vec![bytes],
            prepare: vec![pack],
            workspaces: vec![4 * (parts * at_once * self.c_out) as u64],
            launches,
        })
    }

    /// The first stage, or all of it where there is one part. The caller binds.
    fn product(&self, tile: Tile, has: Has, share: Share) -> Launch {
        let Size { h, w, ho, wo, .. } = self.size;
        let Share { first, pixels, parts, steps } = share;
        let tiles_m = pixels.div_ceil(tile.rows);
        let launch = [
            ("H", h),
            ("W", w),
            ("HO", ho),
            ("WO", wo),
            ("C1", self.c1),
            ("C2", self.c2),
            ("CO", self.c_out),
            ("KH", self.kh),
            ("KW", self.kw),
            ("STRIDE", self.stride),
            ("DILATION", self.dilation),
            ("LOADS", tile.loads()),
        ]
        .into_iter()
        .fold(Launch::new("conv2d/implicit.wgsl"), |launch, (name, value)| launch.constant(name, value))
        .constant("TOP", self.top)
        .constant("LEFT", self.left);
        // What follows the sum stands behind the last stage.
        let scale = if parts == 1 { self.scale } else { 1.0 };
        let launch = has.constants(tile.constants(launch)).constant("MORE", has.more);
        let launch =
            [tiles_m, pixels, first, self.c_out / 4, ho * wo, steps].into_iter().fold(launch, Launch::word);
        has.words(launch.float(scale), 4)
            .grid(parts * tiles_m * self.c_out.div_ceil(tile.columns), 1, 1)
            .flops(self.flops() * pixels as f64 / self.pixels() as f64)
    }

    /// The second stage: adds the parts in their order.
    fn sum_of_parts(&self, share: Share) -> Launch {
        let Share { first, pixels, parts, .. } = share;
        let count = pixels * self.c_out / 4;
        let launch = self.has.epilogue_constants(Launch::new("conv2d/split_sum.wgsl"));
        let launch = launch.constant("MORE", self.has.more);
        let launch = [count, parts, first, self.pixels(), self.c_out / 4, self.size.ho * self.size.wo]
            .into_iter()
            .fold(self.has.epilogue(launch.read(Operand::Workspace(0))), Launch::word);
        self.has
            .words(launch.float(self.scale), 4)
            .grid(count.div_ceil(64), 1, 1)
            .flops((4 * count * parts) as f64)
    }
}

impl GradWeight {
    /// The gradient by a weight of any size, with channels in fours: partial sums over chunks of pixels, then their sum.
    pub(super) fn implicit(&self, tile: Tile, device: &Capabilities) -> Option<Candidate> {
        let c = &self.conv;
        if ![c.c1, c.c2, c.c_out].iter().all(|c| c.is_multiple_of(4)) {
            return None;
        }
        let Size { n, h, w, ho, wo } = c.size;
        let (taps, pixels) = (c.kh * c.kw, n * ho * wo);
        let [top, _, left, _] = c.geometry.pad.map(|p| Const::I32(p as i32));
        let mut workspace = 0;
        let mut launches = Vec::new();
        for (input, first, c_in) in [(1, 0, c.c1), (2, c.c1, c.c2)].into_iter().filter(|s| s.2 > 0) {
            let one = taps * c_in * c.c_out;
            let (chunks, chunk) = chunks(one, pixels, device);
            workspace = workspace.max(4 * (one * chunks) as u64);
            let launch = [
                ("BM", tile.rows),
                ("BN", tile.columns),
                ("H", h),
                ("W", w),
                ("HO", ho),
                ("WO", wo),
                ("C", c_in),
                ("CO", c.c_out),
                ("KH", c.kh),
                ("KW", c.kw),
                ("STRIDE", c.geometry.stride),
                ("DILATION", c.geometry.dilation),
            ]
            .into_iter()
            .fold(Launch::new("conv2d/implicit_grad_weight.wgsl"), |l, (name, value)| l.constant(name, value))
            .constant("TOP", top)
            .constant("LEFT", left);
            launches.push(
                launch
                    .read(Operand::Input(input))
                    .read(Operand::Input(0))
                    .write(Operand::Workspace(0))
                    .word(pixels)
                    .word(chunk)
                    .grid(chunks * taps * c_in.div_ceil(tile.rows) * c.c_out.div_ceil(tile.columns), 1, 1)
                    .flops(2.0 * (pixels * one) as f64),
            );
            launches.push(self.sum_of_parts(chunks, c_in, c.c_out, first, c_in));
        }
        let mut candidate = Candidate::plain(launches).with_workspaces(vec![workspace]);
        (candidate.class, candidate.variant) = ("implicit", tile.name());
        Some(candidate)
    }
}
