// C = A·Bᵀ (MODE 0) or A·B (1) for each image, of operands rounded to f16 and summed in f32, by tiles in workgroup memory; writes `=`.
// A: m k, stored in f16 with A_HALF; B: n k in MODE 0, else k n; C: m n; m, n, k multiples of 4; what follows the sum is in attention/gemm_epilogue.wgsl.
// For GPUs: both operands are read and rounded once per tile, BK of k at a time (register blocking as in Volkov and Demmel 2008).
// A workgroup owns BM rows × BN columns, an invocation or a subgroup what shared/tile.wgsl says.
//!use shared/tile.wgsl
//!use attention/gemm_epilogue.wgsl

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
    let end_n = p.n / 4u;
    let first_m = tile / p.tiles_n % p.tiles_m * BM;
    let z = tile / (p.tiles_n * p.tiles_m);
    let a_image = p.a_first + z * p.a_image;
    let b_image = p.b_first + z * p.b_image;
//!use shared/tile_sums.wgsl
    let k = p.k / 4u;
    for (var first = 0u; first < k; first += QUADS) {
        // Part the reads of the last turn from the writes of this one. Beyond k the numbers of A count as zero.
        workgroupBarrier();
        for (var i = lane; i < BM * QUADS; i += THREADS) {
            let quad = first + i % QUADS;
            let value = Four(a[a_image + min(first_m + i / QUADS, p.m - 1u) * p.a_line + min(quad, k - 1u)]);
            hold_a(i / QUADS, i % QUADS, select(Four(0.0), value, quad < k));
        }
//!if MODE == 0
        for (var i = lane; i < QUADS * COLUMNS; i += THREADS) {
            // 4 rows of B × 4 of k, turned so that columns of C stand side by side.
            let quad = min(first + i % QUADS, k - 1u);
            let column = (first_n + i / QUADS) * 4u;
//!for r in 0..4
            let v$r = Four(b[b_image + min(column + ${r}u, p.n - 1u) * p.b_line + quad]);
//!end
//!for j in 0..4
            hold_b(i % QUADS * 4u + ${j}u, i / QUADS, Four(v0[$j], v1[$j], v2[$j], v3[$j]));
//!end
        }
//!else
        for (var i = lane; i < BK * COLUMNS; i += THREADS) {
            let row = min(first * 4u + i / COLUMNS, p.k - 1u);
            hold_b(i / COLUMNS, i % COLUMNS, Four(b[b_image + row * p.b_line + min(first_n + i % COLUMNS, end_n - 1u)]));
        }
//!end
        // Part the writes of the tiles from their reads.
        workgroupBarrier();
//!use shared/tile_multiply.wgsl
    }
//!use shared/tile_put.wgsl
}
