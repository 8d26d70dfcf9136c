// part = aᵀ·b for a batch of matrices, over chunks of rows, by subgroups of 8 and no workgroup memory; ADD: `+=`, else `=`.
// a: batch × k × m; b: batch × k × n; part: chunks × batch × m × n; m, n multiples of 4.
// part[chunk, z, i, o] = Σ_{row of the chunk} a[z, row, i]·b[z, row, o]: the gradient by a weight.
// A workgroup owns 4 tiles, a subgroup one: 32 × 32, of which an invocation holds 4 columns.
struct Params {
    origin: vec4<u32>,
    tiles: u32,
    tiles_m: u32,
    tiles_n: u32,
    batch: u32,
    // Rows, and rows of a chunk (even).
    k: u32,
    chunk: u32,
    // Quads of columns.
    m: u32,
    n: u32,
}

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

@compute @workgroup_size(32)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let at = (group.x + p.origin.x) * 4u + subgroup;
    // Broadcasts want every invocation: a tile behind the last computes the last once more and writes nothing.
    let tile = min(at, p.tiles - 1u);
    let wanted = tile % p.tiles_n * 8u + lane;
    let column = min(wanted, p.n - 1u);
    let first = tile / p.tiles_n % p.tiles_m * 8u;
    let row = min(first + lane, p.m - 1u);
    let z = tile / (p.tiles_n * p.tiles_m) % p.batch;
    let chunk = tile / (p.tiles_n * p.tiles_m * p.batch);
//!for l in 0..8
//!for j in 0..4
    var sum${l}_$j = vec4<f32>(0.0);
//!end
//!end
    for (var i = 0u; i < p.chunk; i += 2u) {
        // Rows behind the last count as zero.
        let k = chunk * p.chunk + i;
        let k0 = z * p.k + min(k, p.k - 1u);
        let k1 = z * p.k + min(k + 1u, p.k - 1u);
        let a0 = select(vec4<f32>(0.0), a[k0 * p.m + row], k < p.k);
        let a1 = select(vec4<f32>(0.0), a[k1 * p.m + row], k + 1u < p.k);
        let b0 = b[k0 * p.n + column];
        let b1 = b[k1 * p.n + column];
//!for l in 0..8
//!for j in 0..4
        sum${l}_$j += subgroupBroadcast(a0[$j], ${l}u) * b0 + subgroupBroadcast(a1[$j], ${l}u) * b1;
//!end
//!end
    }
    if at < p.tiles && wanted < p.n {
        let place = ((chunk * p.batch + z) * 4u * p.m + 4u * first) * p.n + column;
//!for l in 0..8
        if first + $l < p.m {
//!for j in 0..4
            put(place + ${l*4+j}u * p.n, sum${l}_$j);
//!end
        }
//!end
    }
}
