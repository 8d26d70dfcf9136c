// y = (cat(a, second)·b + bias + temb + residual)·scale for a batch of matrices, by subgroups of 8 and no workgroup memory.
// a: batch × m × k0; second: m × k1; b: batch × k × n; bias: n; temb: images × n; residual, y: batch × m × n; k0, k1, n multiples of 4.
// For software devices, where loads cost most: an invocation loads 4 of a row of a, which its subgroup broadcasts, and 4 columns of b.
// A workgroup owns 4 tiles, a subgroup one: 8·GROUPS rows × 32 columns.
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

@group(0) @binding(0) var<storage, read> source0: array<vec4<f32>>;
//!if SECOND
@group(0) @binding(1) var<storage, read> source1: array<vec4<f32>>;
//!end
@group(0) @binding(1 + SECOND) var<storage, read> b: array<vec4<f32>>;
const BEFORE: u32 = 2u + SECOND;
//!use conv2d/gemm_epilogue.wgsl

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
    let first = tile / p.tiles_n % p.tiles_m * (8u * GROUPS);
    let z = tile / (p.tiles_n * p.tiles_m);
//!for g in 0..GROUPS
//!for l in 0..8
    var sum${g}_$l = vec4<f32>(0.0);
//!end
//!end
    var at_b = z * (p.k0 + p.k1) * 4u * p.n + column;
//!for s in 0..SECOND+1
    {
//!for g in 0..GROUPS
        let row$g = (z * p.m + min(first + ${g*8}u + lane, p.m - 1u)) * p.k$s;
//!end
        for (var q = 0u; q < p.k$s; q++) {
//!for g in 0..GROUPS
            let a$g = source$s[row$g + q];
//!end
            // The loads of b stand among the sums: a driver schedules between them, and keeps sums in registers.
//!for h in 0..2
            {
                let b0 = b[at_b + ${h*2}u * p.n];
                let b1 = b[at_b + ${h*2+1}u * p.n];
//!for g in 0..GROUPS
//!for l in 0..8
                sum${g}_$l += subgroupBroadcast(a$g[${h*2}], ${l}u) * b0 + subgroupBroadcast(a$g[${h*2+1}], ${l}u) * b1;
//!end
//!end
            }
//!end
            at_b += 4u * p.n;
        }
    }
//!end
    if at < p.tiles && wanted < p.n {
//!for g in 0..GROUPS
//!for l in 0..8
        put(z, first + ${g*8+l}u, column, sum${g}_$l);
//!end
//!end
    }
}
