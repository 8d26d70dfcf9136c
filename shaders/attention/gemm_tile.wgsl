// C = A·Bᵀ (MODE 0), A·B (1) or Aᵀ·B (2) for each image, by tiles in workgroup memory; writes `=`.
// A: m k (k m in MODE 2), B: n k in MODE 0, else k n; C: m n; m, n, k multiples of 4; what follows the sum is in attention/gemm_epilogue.wgsl.
// For GPUs: both operands are read once per tile, 16 of k at a time (register blocking as in Volkov and Demmel 2008).
// A workgroup owns BM rows × BN columns, an invocation 8 × 8 of them: two quads of rows, two of columns.
//!use attention/gemm_epilogue.wgsl

const THREADS: u32 = BM * BN / 64u;
const ROWS: u32 = BM / 4u;
const COLUMNS: u32 = BN / 4u;

// 16 of k × BM rows and 16 of k × BN columns, four side by side.
var<workgroup> tile_a: array<vec4<f32>, 16u * ROWS>;
var<workgroup> tile_b: array<vec4<f32>, 16u * COLUMNS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = group.x + p.origin.x;
    // Quads of columns, and rows.
    let first_n = tile % p.tiles_n * COLUMNS;
    let first_m = tile / p.tiles_n % p.tiles_m * BM;
    let image = tile / (p.tiles_n * p.tiles_m);
    let a_image = p.a_first + image * p.a_image;
    let b_image = p.b_first + image * p.b_image;
    let across = lane % (COLUMNS / 2u);
    let down = lane / (COLUMNS / 2u);
//!for i in 0..8
//!for c in 0..2
    var sum${i}_$c = vec4<f32>(0.0);
//!end
//!end
    for (var first = 0u; first < p.k; first += 16u) {
        // Part the reads of the last turn from the writes of this one. Beyond k the numbers of A count as zero.
        workgroupBarrier();
//!if MODE < 2
        for (var i = lane; i < BM; i += THREADS) {
            // 4 rows × 4 of k, turned so that rows stand side by side.
            let k = first + i % 4u * 4u;
            let row = first_m + i / 4u * 4u;
//!for r in 0..4
            let a$r = a[a_image + min(row + $r, p.m - 1u) * p.a_line + min(k, p.k - 4u) / 4u];
            let v$r = select(vec4<f32>(0.0), a$r, k < p.k);
//!end
            let to = i % 4u * 4u * ROWS + i / 4u;
//!for j in 0..4
            tile_a[to + ${j}u * ROWS] = vec4<f32>(v0[$j], v1[$j], v2[$j], v3[$j]);
//!end
        }
//!else
        for (var i = lane; i < 16u * ROWS; i += THREADS) {
            let k = first + i / ROWS;
            let row = min(first_m / 4u + i % ROWS, p.m / 4u - 1u);
            tile_a[i] = select(vec4<f32>(0.0), a[a_image + min(k, p.k - 1u) * p.a_line + row], k < p.k);
        }
//!end
//!if MODE == 0
        for (var i = lane; i < BN; i += THREADS) {
            let k = min(first + i % 4u * 4u, p.k - 4u) / 4u;
            let column = first_n * 4u + i / 4u * 4u;
//!for r in 0..4
            let v$r = b[b_image + min(column + $r, p.n - 1u) * p.b_line + k];
//!end
            let to = i % 4u * 4u * COLUMNS + i / 4u;
//!for j in 0..4
            tile_b[to + ${j}u * COLUMNS] = vec4<f32>(v0[$j], v1[$j], v2[$j], v3[$j]);
//!end
        }
//!else
        for (var i = lane; i < 16u * COLUMNS; i += THREADS) {
            let k = min(first + i / COLUMNS, p.k - 1u);
            tile_b[i] = b[b_image + k * p.b_line + min(first_n + i % COLUMNS, p.n / 4u - 1u)];
        }
//!end
        // Part the writes of the tiles from their reads.
        workgroupBarrier();
        for (var k = 0u; k < 16u; k++) {
//!for h in 0..2
            let a$h = tile_a[k * ROWS + down + ${h}u * (ROWS / 2u)];
            let b$h = tile_b[k * COLUMNS + across + ${h}u * (COLUMNS / 2u)];
//!end
//!for h in 0..2
//!for r in 0..4
//!for c in 0..2
            sum${h*4+r}_$c += a$h[$r] * b$c;
//!end
//!end
//!end
        }
    }
//!for c in 0..2
    {
        let column = first_n + across + ${c}u * (COLUMNS / 2u);
//!for h in 0..2
//!for r in 0..4
        put(image, first_m + (down + ${h}u * (ROWS / 2u)) * 4u + ${r}u, column, sum${h*4+r}_$c);
//!end
//!end
    }
//!end
}
