// y = (cat(a, second)·b + bias + temb + residual)·scale for a batch of matrices, by tiles in workgroup memory.
// a: batch × m × k0; second: m × k1; b: batch × k × n; bias: n; temb: images × n; residual, y: batch × m × n; k0, k1, n multiples of 4.
// For GPUs: both operands are read once per tile, 16 channels at a time (register blocking as in Volkov and Demmel 2008).
// A workgroup owns BM rows × BN columns, an invocation 8 × 8 of them: two quads of rows, two of columns.
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
}

const THREADS: u32 = BM * BN / 64u;
const ROWS: u32 = BM / 4u;
const COLUMNS: u32 = BN / 4u;

@group(0) @binding(0) var<storage, read> source0: array<vec4<f32>>;
//!if SECOND
@group(0) @binding(1) var<storage, read> source1: array<vec4<f32>>;
//!end
@group(0) @binding(1 + SECOND) var<storage, read> b: array<vec4<f32>>;
//!use conv2d/gemm_epilogue.wgsl

// 16 channels × BM rows and 16 channels × BN columns, four side by side.
var<workgroup> tile_a: array<vec4<f32>, 16u * ROWS>;
var<workgroup> tile_b: array<vec4<f32>, 16u * COLUMNS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = group.x + p.origin.x;
    let first_n = tile % p.tiles_n * COLUMNS;
    let first_m = tile / p.tiles_n % p.tiles_m * BM;
    let z = tile / (p.tiles_n * p.tiles_m);
    let across = lane % (COLUMNS / 2u);
    let down = lane / (COLUMNS / 2u);
//!for i in 0..8
//!for c in 0..2
    var sum${i}_$c = vec4<f32>();
//!end
//!end
    var first_b = z * (p.k0 + p.k1) * 4u * p.n;
//!for s in 0..SECOND+1
    for (var q = 0u; q < p.k$s; q += 4u) {
        // Part the reads of the last turn from the writes of this one.
        workgroupBarrier();
        for (var i = lane; i < BM; i += THREADS) {
            // 4 rows × 4 channels, turned so that rows stand side by side.
            let quad = q + i % 4u;
            let row = first_m + i / 4u * 4u;
//!for r in 0..4
            let at$r = (z * p.m + min(row + $r, p.m - 1u)) * p.k$s + min(quad, p.k$s - 1u);
            let v$r = select(vec4<f32>(), source$s[at$r], quad < p.k$s);
//!end
            let to = i % 4u * 4u * ROWS + i / 4u;
            tile_a[to] = vec4<f32>(v0.x, v1.x, v2.x, v3.x);
            tile_a[to + ROWS] = vec4<f32>(v0.y, v1.y, v2.y, v3.y);
            tile_a[to + 2u * ROWS] = vec4<f32>(v0.z, v1.z, v2.z, v3.z);
            tile_a[to + 3u * ROWS] = vec4<f32>(v0.w, v1.w, v2.w, v3.w);
        }
        for (var i = lane; i < 16u * COLUMNS; i += THREADS) {
            let k = min(q * 4u + i / COLUMNS, p.k$s * 4u - 1u);
            tile_b[i] = b[first_b + k * p.n + min(first_n + i % COLUMNS, p.n - 1u)];
        }
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
    first_b += p.k$s * 4u * p.n;
//!end
//!for c in 0..2
    {
        let column = first_n + across + ${c}u * (COLUMNS / 2u);
        if column < p.n {
//!for h in 0..2
//!for r in 0..4
            put(z, first_m + (down + ${h}u * (ROWS / 2u)) * 4u + ${r}u, column, sum${h*4+r}_$c);
//!end
//!end
        }
    }
//!end
}
