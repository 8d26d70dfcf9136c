//! The gradients of a convolution by its inputs and by its weight.

use crate::gpu::{Capabilities, Const, DeviceKind};
use crate::graph::{Candidate, Io, Launch, Op, Operand};

use super::gemm::{Gemm, Transposed};
use super::sum::{FEW, Has, Layout, Size, Sum, behind};
use super::winograd::better_tile;
use super::{Conv, Conv2d, STEM};
use crate::ops::shared::tile::Tile;
use crate::ops::{flat_groups, lanes};

/// The gradient by one input: `c` channels from `first` on.
#[derive(Debug)]
pub(super) struct GradInput {
    pub(super) conv: Conv,
    pub(super) first: usize,
    pub(super) c: usize,
}

impl Op for GradInput {
    fn stem(&self) -> &'static str {
        STEM
    }

    fn candidates(&self, _: &Io, device: &Capabilities) -> Vec<Candidate> {
        let Conv { size, kh, kw, geometry, layout, .. } = self.conv;
        let Layout { per_o, per_i, per_y, per_x } = layout;
        let [top, _, left, _] = geometry.pad.map(|p| p as i32);
        let first = (self.first * per_i) as i32;
        let sum = Sum {
            size: Size { n: size.n, h: size.ho, w: size.wo, ho: size.h, wo: size.w },
            c1: self.conv.c_out,
            c2: 0,
            c_out: self.c,
            kh,
            kw,
            stride: geometry.stride,
            dilation: geometry.dilation,
            top,
            left,
            // Inputs and outputs change places.
            strides: [first, per_i as i32, per_o as i32, per_y as i32, per_x as i32],
            has: Has::default(),
            scale: self.conv.scale,
        };
        // The same convolution with flipped taps and what is left of the reach as padding, over grad_y with zeros between its pixels
        // where outputs lie further apart than inputs.
        let reach = |k: usize| (geometry.dilation * (k - 1)) as i32;
        let last = ((kh - 1) * per_y + (kw - 1) * per_x) as i32;
        let apart = |outputs: usize| (outputs - 1) * geometry.stride + 1;
        let (h, w) = (apart(size.ho), apart(size.wo));
        let flipped = Sum {
            size: Size { h, w, ..sum.size },
            top: reach(kh) - top,
            left: reach(kw) - left,
            stride: 1,
            strides: [first + last, per_i as i32, per_o as i32, -(per_y as i32), -(per_x as i32)],
            ..sum
        };
        let image = 4 * (h * w * self.conv.c_out) as u64;
        let mut all = match geometry.stride {
            1 => flipped.ways(device),
            // Left for images of which no binding holds one are the kernels that step over the zeros.
            _ if image > device.max_binding => Vec::new(),
            _ => {
                let spread = |to| self.conv.spread([h, w], to);
                flipped
                    .ways(device)
                    .into_iter()
                    .filter(|way| !is_implicit(way))
                    .map(|way| behind(way, Operand::Input(0), size.n as u64 * image, spread))
                    .collect()
            }
        };
        if geometry.stride > 1 {
            all.extend(Tile::all(self.c, device).iter().filter_map(|&tile| sum.implicit(tile, true)));
        }
        all.push(sum.plain(true));
        // f16 holds nothing above 65,504 and little below 6e-8. Activations behind a norm stay between; gradients do not.
        all.retain(|way| !way.arithmetic.is_reduced());
        all
    }

    fn flops(&self, io: &Io) -> f64 {
        self.conv.flops(io) * self.c as f64 / (self.conv.c1 + self.conv.c2) as f64
    }
}

/// Kernels that look up each pixel can step over zeros that were never stored.
fn is_implicit(way: &Candidate) -> bool {
    way.launches.iter().any(|launch| launch.kernel.shader == "conv2d/implicit.wgsl")
}

impl Conv {
    /// grad_y to `to`, an image of `h`×`w` with zeros between.
    fn spread(&self, [h, w]: [usize; 2], to: Operand) -> Launch {
        let (size, c) = (self.size, self.c_out);
        let v = lanes(c);
        let elements = size.n * h * w * c;
        [elements / v, h, w, c / v, size.ho, size.wo, self.geometry.stride]
            .into_iter()
            .fold(
                Launch::new("conv2d/spread.wgsl").constant("V", v).read(Operand::Input(0)).write(to),
                Launch::word,
            )
            .grid(flat_groups(elements, v), 1, 1)
    }
}

/// The gradient by the weight, in two stages: partial sums over chunks of rows, then their sum.
#[derive(Debug)]
pub(super) struct GradWeight {
    pub(super) conv: Conv,
}

impl Op for GradWeight {
    fn stem(&self) -> &'static str {
        STEM
    }

    fn candidates(&self, _: &Io, device: &Capabilities) -> Vec<Candidate> {
        let gemms = Gemm::all(device);
        let mut all: Vec<Candidate> = gemms.iter().filter_map(|&g| self.gemm(g, device)).collect();
        let better = better_tile(self.conv.size);
        all.extend(gemms.iter().filter_map(|&g| self.winograd(better, g, device, None)));
        all.extend(self.winograd(6 - better, gemms[0], device, None));
        let direct = self.direct(device);
        // Tiles for what has none by now; before the direct kernel where workgroup memory is what it says.
        let implicit = match all.is_empty() {
            true => vec![Tile::MEDIUM, Tile::LARGE],
            false => Vec::new(),
        };
        let implicit = implicit.into_iter().filter_map(|tile| self.implicit(tile, device));
        let few = self.conv.c1 + self.conv.c2 < FEW || self.conv.c_out < FEW;
        match few || device.kind == DeviceKind::Software {
            true => {
                all.insert(if few { 0 } else { all.len() }, direct);
                all.extend(implicit);
            }
            false => {
                all.extend(implicit);
                all.push(direct);
            }
        }
        all
    }

    fn flops(&self, io: &Io) -> f64 {
        self.conv.flops(io)
    }
}

/// Into how many chunks, and of how many pixels, sums of `one` weights are cut: enough chunks to fill the device, none so short that
/// the second stage costs more than the first, and partial sums that stay small beside the activations.
pub(super) fn chunks(one: usize, pixels: usize, device: &Capabilities) -> (usize, usize) {
    let tiles: usize = if device.kind == DeviceKind::Software { 64 } else { 4_096 };
    let chunks = (tiles * 1_024 / one).clamp(1, pixels.div_ceil(256)).max(pixels / 4_096);
    let chunks = chunks.min((32 << 20) / (4 * one)).max(1);
    let chunk = pixels.div_ceil(chunks).next_multiple_of(2);
    (pixels.div_ceil(chunk), chunk)
}

impl GradWeight {
    /// Rows of taps × 4 input channels × 4·OC output channels in registers, for every shape.
    fn direct(&self, device: &Capabilities) -> Candidate {
        let c = &self.conv;
        let Size { n, h, w, ho, wo } = c.size;
        // Lines stay lines here: they are what the sum is cut into, and no loop may run over a whole image at once.
        let (h, w, ho, wo) = (h * c.lines, w / c.lines, ho * c.lines, wo / c.lines);
        let px = [4, 2, 1].into_iter().find(|&p| p <= wo).unwrap_or(1);
        let oc = if c.c_out > 4 { 2 } else { 1 };
        let columns = c.c_out.next_multiple_of(4 * oc);
        let taps = c.kh * c.kw;
        let sources = if c.has.second { vec![(1, 0, c.c1), (2, c.c1, c.c2)] } else { vec![(1, 0, c.c1)] };
        // Enough invocations to fill the device, and partial sums that stay small beside the activations.
        let wanted: usize = if device.kind == DeviceKind::Software { 256 } else { 32_768 };
        let budget = (32 << 20) / 4;
        let mut workspace = 0;
        let mut launches = Vec::new();
        for (input, first, c_in) in sources {
            let rows = c_in.next_multiple_of(4);
            let tiles = c.kh * (rows / 4) * (columns / (4 * oc));
            let one = taps * rows * columns;
            let by_need = wanted.div_ceil(tiles * n);
            let by_budget = budget / (one * n);
            let chunks = by_need.min(by_budget).clamp(1, ho);
            let chunk_rows = ho.div_ceil(chunks);
            let chunks = ho.div_ceil(chunk_rows);
            let all = tiles * chunks * n;
            workspace = workspace.max(4 * (one * chunks * n) as u64);
            let signed = |v: usize| Const::I32(v as i32);
            launches.push(
                Launch::new("conv2d/grad_weight.wgsl")
                    .constant("PX", px)
                    .constant("OC", oc)
                    .constant("COLS", (px - 1) * c.geometry.stride + (c.kw - 1) * c.geometry.dilation + 1)
                    .constant("H", h)
                    .constant("W", w)
                    .constant("HO", ho)
                    .constant("WO", wo)
                    .constant("C", c_in)
                    .constant("C_EVEN", c_in.is_multiple_of(4))
                    .constant("CO", c.c_out)
                    .constant("CO_EVEN", c.c_out.is_multiple_of(4))
                    .constant("KH", c.kh)
                    .constant("KW", c.kw)
                    .constant("STRIDE", c.geometry.stride)
                    .constant("DILATION", c.geometry.dilation)
                    .constant("TOP", signed(c.geometry.pad[0]))
                    .constant("LEFT", signed(c.geometry.pad[2]))
                    .read(Operand::Input(input))
                    .read(Operand::Input(0))
                    .write(Operand::Workspace(0))
                    .word(all)
                    .word(chunks)
                    .word(chunk_rows)
                    .grid(all.div_ceil(64), 1, 1)
                    .flops(2.0 * (n * ho * wo * c.c_out * c_in * taps) as f64),
            );
            launches.push(self.sum_of_parts(chunks * n, rows, columns, first, c_in));
        }
        let mut direct = Candidate::plain(launches).with_workspaces(vec![workspace]);
        direct.class = "direct";
        direct
    }

    /// Second stage: sums `chunks` partial sums of taps × `rows` × `columns` into the weight's channels from `first` on.
    pub(super) fn sum_of_parts(
        &self,
        chunks: usize,
        rows: usize,
        columns: usize,
        first: usize,
        c_in: usize,
    ) -> Launch {
        let c = &self.conv;
        let taps = c.kh * c.kw;
        let count = taps * c_in * c.c_out;
        let Layout { per_o, per_i, per_y, per_x } = c.layout;
        let sum =
            Launch::new("conv2d/grad_weight_sum.wgsl").read(Operand::Workspace(0)).write(Operand::Output(0));
        let start = first * per_i;
        [count, chunks, taps, c.kw, rows, columns, c_in, c.c_out, start, per_o, per_i, per_y, per_x]
            .into_iter()
            .fold(sum, Launch::word)
            .float(c.scale)
            .grid(count.div_ceil(64), 1, 1)
            .flops((count * chunks) as f64)
    }

    /// A 1×1 kernel that neither skips nor pads: one product of matrices over all pixels, in chunks.
    fn gemm(&self, gemm: Gemm, device: &Capabilities) -> Option<Candidate> {
        let c = &self.conv;
        let one = c.kh * c.kw == 1 && c.geometry == Conv2d::same(1);
        if !one || ![c.c1, c.c2, c.c_out].iter().all(|c| c.is_multiple_of(4)) {
            return None;
        }
        let pixels = c.size.n * c.size.h * c.size.w;
        let mut workspace = 0;
        let mut launches = Vec::new();
        for (input, first, c_in) in [(1, 0, c.c1), (2, c.c1, c.c2)].into_iter().filter(|s| s.2 > 0) {
            let one = c_in * c.c_out;
            let (chunks, chunk) = chunks(one, pixels, device);
            workspace = workspace.max(4 * (one * chunks) as u64);
            let product = Transposed { batch: 1, k: pixels, m: c_in, n: c.c_out, chunk, add: false };
            let operands = [Operand::Input(input), Operand::Input(0), Operand::Workspace(0)];
            launches.push(gemm.transposed(product, operands));
            launches.push(self.sum_of_parts(chunks, c_in, c.c_out, first, c_in));
        }
        let mut candidate = Candidate::plain(launches).with_workspaces(vec![workspace]);
        (candidate.class, candidate.variant) = gemm.name("gemm");
        Some(candidate)
    }
}
