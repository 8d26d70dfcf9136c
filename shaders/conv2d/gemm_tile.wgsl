// y = (cat(a, second)·b + bias + temb + residual)·scale for a batch of matrices, by tiles in workgroup memory.
// a: batch × m × k0; second: m × k1; b: batch × k × n; bias: n; temb: images × n; residual, y: batch × m × n; k0, k1, n multiples of 4.
// For GPUs: both operands are read once per tile, BK channels at a time (register blocking as in Volkov and Demmel 2008). b is of f16 with
// HALF, and a with A_HALF.
// A workgroup owns BM rows × BN columns, an invocation or a subgroup what tile.wgsl says.
struct Params {
    origin: vec4<u32>,
    tiles: u32,
    tiles_m: u32,
    tiles_n: u32,
    m: u32,
    // Quads of a row of a, of second, of b.
    k0: u32,
    k1: u32,
    n: u32,
    // Rows of an image.
    image: u32,
    scale: f32,
//!if TEMB
    // From image to image in temb, and where its columns begin.
    temb_line: u32,
    temb_first: u32,
//!end
}

//!use shared/tile.wgsl
//!if A_HALF
alias Source = Four;
//!else
alias Source = vec4<f32>;
//!end

@group(0) @binding(0) var<storage, read> source0: array<Source>;
//!if SECOND
@group(0) @binding(1) var<storage, read> source1: array<Source>;
//!end
@group(0) @binding(1 + SECOND) var<storage, read> b: array<Four>;
const BEFORE: u32 = 2u + SECOND;
//!use conv2d/gemm_epilogue.wgsl

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
//!if COOP
    @builtin(subgroup_id) subgroup: u32,
//!end
) {
    let tile = group.x + p.origin.x;
    let first_n = tile % p.tiles_n * COLUMNS;
    let end_n = p.n;
    let first_m = tile / p.tiles_n % p.tiles_m * BM;
    let z = tile / (p.tiles_n * p.tiles_m);
//!use shared/tile_sums.wgsl
    let steps0 = (p.k0 + QUADS - 1u) / QUADS;
    let steps = steps0 + (p.k1 + QUADS - 1u) / QUADS;
    for (var step = 0u; step < steps; step++) {
//!if SECOND
        let in_second = step >= steps0;
        let first = select(step, step - steps0, in_second) * QUADS;
        let k = select(p.k0, p.k1, in_second);
        let before = z * (p.k0 + p.k1) * 4u + select(0u, p.k0 * 4u, in_second);
//!else
        let first = step * QUADS;
        let k = p.k0;
        let before = z * k * 4u;
//!end
        // Part the reads of the last turn from the writes of this one.
        workgroupBarrier();
        for (var i = lane; i < BM * QUADS; i += THREADS) {
            let quad = first + i % QUADS;
            let at = (z * p.m + min(first_m + i / QUADS, p.m - 1u)) * k + min(quad, k - 1u);
//!if SECOND
            var value: Source;
            if in_second {
                value = source1[at];
            } else {
                value = source0[at];
            }
//!else
            let value = source0[at];
//!end
            hold_a(i / QUADS, i % QUADS, select(Four(0.0), Four(value), quad < k));
        }
        for (var i = lane; i < BK * COLUMNS; i += THREADS) {
            let row = before + min(first * 4u + i / COLUMNS, k * 4u - 1u);
            hold_b(i / COLUMNS, i % COLUMNS, b[row * p.n + min(first_n + i % COLUMNS, p.n - 1u)]);
        }
        // Part the writes of the tiles from their reads.
        workgroupBarrier();
//!use shared/tile_multiply.wgsl
    }
//!use shared/tile_put.wgsl
}
