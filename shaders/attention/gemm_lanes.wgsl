// C = A·Bᵀ (MODE 0), A·B (1) or Aᵀ·B (2) for each image, by subgroups of 8 and no workgroup memory; writes `=`.
// A: m k (k m in MODE 2), B: n k in MODE 0, else k n; C: m n; m, n, k multiples of 4; what follows the sum is in attention/gemm_epilogue.wgsl.
// For software devices, where loads cost most: what an invocation loads of A its subgroup broadcasts, as in conv2d/gemm_lanes.wgsl.
// A workgroup owns 4 tiles, a subgroup one: 32 × 32, of which an invocation holds 4 columns.
//!use attention/gemm_epilogue.wgsl

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
    let column = min(wanted * 4u, p.n - 4u);
    let first = tile / p.tiles_n % p.tiles_m * 32u;
    let image = tile / (p.tiles_n * p.tiles_m);
    let a_image = p.a_first + image * p.a_image;
    let b_image = p.b_first + image * p.b_image;
//!for r in 0..32
    var sum$r = vec4<f32>(0.0);
//!end
//!if MODE < 2
//!for g in 0..4
    let row$g = a_image + min(first + ${g*8}u + lane, p.m - 1u) * p.a_line;
//!end
//!if MODE == 0
//!for j in 0..4
    let line$j = b_image + (column + $j) * p.b_line;
//!end
//!else
    var at_b = b_image + column / 4u;
//!end
    for (var q = 0u; q < p.k / 4u; q++) {
//!for g in 0..4
        let a$g = a[row$g + q];
//!end
//!if MODE == 0
//!for j in 0..4
        let t$j = b[line$j + q];
//!end
//!end
//!for h in 0..2
        {
//!if MODE == 0
            let b0 = vec4<f32>(t0[${h*2}], t1[${h*2}], t2[${h*2}], t3[${h*2}]);
            let b1 = vec4<f32>(t0[${h*2+1}], t1[${h*2+1}], t2[${h*2+1}], t3[${h*2+1}]);
//!else
            // The loads of b stand among the sums: a driver schedules between them, and keeps sums in registers.
            let b0 = b[at_b + ${h*2}u * p.b_line];
            let b1 = b[at_b + ${h*2+1}u * p.b_line];
//!end
//!for g in 0..4
//!for l in 0..8
            sum${g*8+l} += subgroupBroadcast(a$g[${h*2}], ${l}u) * b0 + subgroupBroadcast(a$g[${h*2+1}], ${l}u) * b1;
//!end
//!end
        }
//!end
//!if MODE == 1
        at_b += 4u * p.b_line;
//!end
    }
//!else
    var at_a = a_image + min(first / 4u + lane, p.m / 4u - 1u);
    var at_b = b_image + column / 4u;
    for (var i = 0u; i < p.k; i += 2u) {
        let a0 = a[at_a];
        let a1 = a[at_a + p.a_line];
        let b0 = b[at_b];
        let b1 = b[at_b + p.b_line];
//!for l in 0..8
//!for j in 0..4
        sum${l*4+j} += subgroupBroadcast(a0[$j], ${l}u) * b0 + subgroupBroadcast(a1[$j], ${l}u) * b1;
//!end
//!end
        at_a += 2u * p.a_line;
        at_b += 2u * p.b_line;
    }
//!end
    if at < p.tiles {
//!for r in 0..32
        put(image, first + ${r}u, wanted, sum$r);
//!end
    }
}
