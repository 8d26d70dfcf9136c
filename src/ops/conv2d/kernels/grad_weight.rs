//! The gradient by the weight in two stages: partial sums over chunks of pixels, then their sum.

use crate::fields;
use crate::gpu::{Capabilities, Const, DeviceKind};
use crate::graph::{Candidate, Class, Launch, Operand};

use super::super::problem::{Conv, Size, WeightLayout};

/// Into how many chunks, and of how many pixels, sums of `one` weights are cut: enough chunks to fill the device, none so short that
/// the second stage costs more than the first, and partial sums that stay small beside the activations.
pub(super) fn chunks(one: usize, pixels: usize, device: &Capabilities) -> (usize, usize) {
    let tiles: usize = if device.kind == DeviceKind::Software { 64 } else { 4_096 };
    let chunks = (tiles * 1_024 / one).clamp(1, pixels.div_ceil(256)).max(pixels / 4_096);
    let chunks = chunks.min((32 << 20) / (4 * one)).max(1);
    let chunk = pixels.div_ceil(chunks).next_multiple_of(2);
    (pixels.div_ceil(chunk), chunk)
}

/// Taps of a row × 4 input channels × output channels in registers, for every shape.
pub(in super::super) fn direct(conv: &Conv, device: &Capabilities) -> Candidate {
    let Size { n, h, w, ho, wo } = conv.size;
    // Lines stay lines here: they are what the sum is cut into, and no loop may run over a whole image at once.
    let (h, w, ho, wo) = (h * conv.lines, w / conv.lines, ho * conv.lines, wo / conv.lines);
    let Conv { c_out, kh, kw, .. } = *conv;
    let (stride, dilation) = (conv.geometry.stride, conv.geometry.dilation);
    let [top, _, left, _] = conv.geometry.pad.map(|p| p as i32);
    let px = [4, 2, 1].into_iter().find(|&p| p <= wo).unwrap_or(1);
    let oc = if c_out > 4 { 2 } else { 1 };
    let columns = c_out.next_multiple_of(4 * oc);
    let taps = kh * kw;
    // Enough invocations to fill the device, and partial sums that stay small beside the activations.
    let wanted: usize = if device.kind == DeviceKind::Software { 256 } else { 32_768 };
    let budget = (32 << 20) / 4;
    let mut workspace = 0;
    let mut launches = Vec::new();
    for (input, first, c_in) in conv.sources() {
        let rows = c_in.next_multiple_of(4);
        let tiles_of_all = kh * (rows / 4) * (columns / (4 * oc));
        let one = taps * rows * columns;
        let by_need = wanted.div_ceil(tiles_of_all * n);
        let by_budget = budget / (one * n);
        let chunks = by_need.min(by_budget).clamp(1, ho);
        let rows_of_chunk = ho.div_ceil(chunks);
        let chunks = ho.div_ceil(rows_of_chunk);
        let tiles = tiles_of_all * chunks * n;
        workspace = workspace.max(4 * (one * chunks * n) as u64);
        launches.push(
            Launch::new("conv2d/grad_weight.wgsl")
                .constants(fields! { PX: px, OC: oc, COLS: (px - 1) * stride + (kw - 1) * dilation + 1 })
                .constants(fields! { H: h, W: w, HO: ho, WO: wo, C: c_in, CO: c_out, KH: kh, KW: kw })
                .constants(fields! { C_EVEN: c_in.is_multiple_of(4), CO_EVEN: c_out.is_multiple_of(4) })
                .constants(fields! { STRIDE: stride, DILATION: dilation, TOP: Const::I32(top), LEFT: Const::I32(left) })
                .read(Operand::Input(input))
                .read(Operand::Input(0))
                .write(Operand::Workspace(0))
                .params(fields! { tiles, chunks, rows: rows_of_chunk })
                .grid(tiles.div_ceil(64), 1, 1)
                .flops(2.0 * (n * ho * wo * c_out * c_in * taps) as f64),
        );
        launches.push(sum_of_chunks(conv, chunks * n, [rows, columns], first, c_in));
    }
    Candidate::of_class(Class::Direct, launches).with_workspaces(vec![workspace])
}

/// Second stage: sums `chunks` partial sums of taps × `rows` × `columns` into the weight's `c_in` channels from `first` on.
pub(super) fn sum_of_chunks(
    conv: &Conv,
    chunks: usize,
    [rows, columns]: [usize; 2],
    first: usize,
    c_in: usize,
) -> Launch {
    let Conv { c_out, kh, kw, scale, .. } = *conv;
    let taps = kh * kw;
    let count = taps * c_in * c_out;
    let WeightLayout { per_o, per_i, per_y, per_x } = conv.layout;
    Launch::new("conv2d/grad_weight_sum.wgsl")
        .read(Operand::Workspace(0))
        .write(Operand::Output(0))
        .params(fields! { count, chunks, taps, kw, rows, columns, c_in, c_out })
        .params(fields! { first: first * per_i, per_o, per_i, per_y, per_x, scale })
        .grid(count.div_ceil(64), 1, 1)
        .flops((count * chunks) as f64)
}
