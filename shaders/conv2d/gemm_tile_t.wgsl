// part = aᵀ·b for a batch of matrices, over chunks of rows, by tiles in workgroup memory; ADD: `+=`, else `=`.
// a: batch × k × m; b: batch × k × n; part: chunks × batch × m × n; m, n multiples of 4.
// part[chunk, z, i, o] = Σ_{row of the chunk} a[z, row, i]·b[z, row, o]: the gradient by a weight, for GPUs.
// A workgroup owns BM × BN of a chunk, an invocation 8 × 8 of them.
struct Params {
    origin: vec4<u32>,
    tiles: u32,
    tiles_m: u32,
    tiles_n: u32,
    batch: u32,
    // Rows, and rows of a chunk.
    k: u32,
    chunk: u32,
    // Quads of columns.
    m: u32,
    n: u32,
}

//!use conv2d/tile_t.wgsl
@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> part: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> p: Params;

fn put(at: u32, sum: vec4<f32>) {
//!if ADD
    part[at] += sum;
//!else
    part[at] = sum;
//!end
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = group.x + p.origin.x;
    let first_n = tile % p.tiles_n * COLUMNS;
    let first_m = tile / p.tiles_n % p.tiles_m * ROWS;
    let z = tile / (p.tiles_n * p.tiles_m) % p.batch;
    let chunk = tile / (p.tiles_n * p.tiles_m * p.batch);
    let across = lane % (COLUMNS / 2u);
    let down = lane / (COLUMNS / 2u);
//!for i in 0..8
//!for c in 0..2
    var sum${i}_$c = vec4<f32>(0.0);
//!end
//!end
    for (var first = 0u; first < p.chunk; first += 16u) {
        // Part the reads of the last turn from the writes of this one.
        workgroupBarrier();
        for (var i = lane; i < 16u * ROWS; i += THREADS) {
            // Rows behind the last, and behind the chunk, count as zero.
            let local = first + i / ROWS;
            let k = chunk * p.chunk + local;
            let at = (z * p.k + min(k, p.k - 1u)) * p.m + min(first_m + i % ROWS, p.m - 1u);
            tile_a[i] = select(vec4<f32>(0.0), a[at], k < p.k && local < p.chunk);
        }
        for (var i = lane; i < 16u * COLUMNS; i += THREADS) {
            let k = min(chunk * p.chunk + first + i / COLUMNS, p.k - 1u);
            tile_b[i] = b[(z * p.k + k) * p.n + min(first_n + i % COLUMNS, p.n - 1u)];
        }
        // Part the writes of the tiles from their reads.
        workgroupBarrier();
//!use conv2d/tile_t_multiply.wgsl
    }
//!for c in 0..2
    {
        let column = first_n + across + ${c}u * (COLUMNS / 2u);
//!for h in 0..2
        {
            let row = first_m + down + ${h}u * (ROWS / 2u);
            if column < p.n && row < p.m {
                let place = ((chunk * p.batch + z) * p.m + row) * 4u * p.n + column;
//!for r in 0..4
                put(place + ${r}u * p.n, sum${h*4+r}_$c);
//!end
            }
        }
//!end
    }
//!end
}
