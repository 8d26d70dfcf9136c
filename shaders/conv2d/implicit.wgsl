// y = (w ⋆ cat(x, second) + bias + temb + residual)·scale as a product of matrices, a row of the first being what surrounds a pixel.
// x: n H W C1; second: n H W C2; b: tap × C1 + C2 × CO (pack.wgsl); bias: CO; temb: n CO; residual, y: n HO WO CO; C1, C2, CO multiples of 4.
// Cross-correlation, zeros outside. The first matrix is never stored (implicit GEMM, Chetlur et al. 2014): its columns run over channels
// inside and taps outside, BK at a time. With several parts, part z of the sum goes to y[z]. GRADIENT: x is the gradient of a strided
// convolution's output and y that of its input; a tap meets every STRIDE-th pixel only, and the others count as zero.
// A workgroup owns BM pixels × BN channels of one part, an invocation or a subgroup what tile.wgsl says.
struct Params {
    origin: vec4<u32>,
    tiles_m: u32,
    // Pixels, the first of them among all, quads of output channels.
    m: u32,
    first: u32,
    n: u32,
    // Pixels of an image.
    image: u32,
    // Steps of a part.
    steps: u32,
    scale: f32,
//!if TEMB
    // From image to image in temb, and where its columns begin.
    temb_line: u32,
    temb_first: u32,
//!end
}

//!use shared/tile.wgsl
@group(0) @binding(0) var<storage, read> source0: array<vec4<f32>>;
//!if SECOND
@group(0) @binding(1) var<storage, read> source1: array<vec4<f32>>;
//!end
@group(0) @binding(1 + SECOND) var<storage, read> b: array<Four>;
const BEFORE: u32 = 2u + SECOND;
//!use conv2d/gemm_epilogue.wgsl

const TILES_N: u32 = (CO + BN - 1u) / BN;
// Steps over a tap's channels: those of x, and all; then over all taps.
const STEPS1: u32 = (C1 + BK - 1u) / BK;
const STEPS_TAP: u32 = STEPS1 + (C2 + BK - 1u) / BK;
const STEPS: u32 = KH * KW * STEPS_TAP;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
//!if COOP
    @builtin(subgroup_id) subgroup: u32,
//!end
) {
    let tile = group.x + p.origin.x;
    let first_n = tile % TILES_N * COLUMNS;
    let end_n = p.n;
    let first_m = tile / TILES_N % p.tiles_m * BM;
    let z = tile / (TILES_N * p.tiles_m);
    // The pixels that this invocation loads, and where their surroundings begin; divided here, once.
    let own_row = lane / QUADS;
    let own_quad = lane % QUADS;
//!for t in 0..LOADS
    let pixel$t = p.first + min(first_m + own_row + ${t}u * (THREADS / QUADS), p.m - 1u);
    let line$t = i32(pixel$t / (HO * WO) * H);
//!if GRADIENT
    let iy$t = i32(pixel$t / WO % HO) + TOP;
    let ix$t = i32(pixel$t % WO) + LEFT;
//!else
    let iy$t = i32(pixel$t / WO % HO * STRIDE) - TOP;
    let ix$t = i32(pixel$t % WO * STRIDE) - LEFT;
//!end
//!end
//!use shared/tile_sums.wgsl
    let begin = z * p.steps;
    let end = min(begin + p.steps, STEPS);
    var at_channels = begin % STEPS_TAP;
    var ky = begin / (STEPS_TAP * KW);
    var kx = begin / STEPS_TAP % KW;
    for (var step = begin; step < end; step++) {
//!if SECOND
        let in_second = at_channels >= STEPS1;
        let first = select(at_channels, at_channels - STEPS1, in_second) * QUADS;
        let k = select(C1 / 4u, C2 / 4u, in_second);
        let before = (ky * KW + kx) * (C1 + C2) + select(0u, C1, in_second);
//!else
        let first = at_channels * QUADS;
        let k = C1 / 4u;
        let before = (ky * KW + kx) * C1;
//!end
        let quad = first + own_quad;
        // Part the reads of the last turn from the writes of this one.
        workgroupBarrier();
//!for t in 0..LOADS
        {
//!if GRADIENT
            let dy = iy$t - i32(ky * DILATION);
            let dx = ix$t - i32(kx * DILATION);
            let y = dy / i32(STRIDE);
            let x = dx / i32(STRIDE);
            let meets = dy >= 0 && dx >= 0 && dy % i32(STRIDE) == 0 && dx % i32(STRIDE) == 0;
            let inside = meets && y < i32(H) && x < i32(W) && quad < k;
//!else
            let y = iy$t + i32(ky * DILATION);
            let x = ix$t + i32(kx * DILATION);
            let inside = y >= 0 && y < i32(H) && x >= 0 && x < i32(W) && quad < k;
//!end
            let pixel = (line$t + clamp(y, 0, i32(H) - 1)) * i32(W) + clamp(x, 0, i32(W) - 1);
            let at = u32(pixel) * k + min(quad, k - 1u);
//!if SECOND
            var value: vec4<f32>;
            if in_second {
                value = source1[at];
            } else {
                value = source0[at];
            }
//!else
            let value = source0[at];
//!end
            hold_a(own_row + ${t}u * (THREADS / QUADS), own_quad, select(Four(0.0), Four(value), inside));
        }
//!end
        for (var i = lane; i < BK * COLUMNS; i += THREADS) {
            let row = before + min(first * 4u + i / COLUMNS, k * 4u - 1u);
            hold_b(i / COLUMNS, i % COLUMNS, b[row * p.n + min(first_n + i % COLUMNS, p.n - 1u)]);
        }
        // Part the writes of the tiles from their reads.
        workgroupBarrier();
//!use shared/tile_multiply.wgsl
        at_channels++;
        if at_channels == STEPS_TAP {
            at_channels = 0u;
            kx++;
            if kx == KW {
                kx = 0u;
                ky++;
            }
        }
    }
//!use shared/tile_put.wgsl
}
