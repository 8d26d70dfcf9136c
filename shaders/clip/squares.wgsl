// Parts of a sum of squares over one segment, and how many of its elements are not finite.
// x: `size` elements E; sums, counts: one number a part, from `first` on.
// sums[first + part] = Σ x² over the finite ones of 256·turns elements; NaN and infinity are told by their exponent bits, since
// drivers may take `x != x` for false. A workgroup owns one part, an invocation every 256th element of it.
//!use shared/element.wgsl
struct Params {
    origin: vec4<u32>,
    size: u32,
    turns: u32,
    first: u32,
}

@group(0) @binding(0) var<storage, read> x: array<E>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;
@group(0) @binding(2) var<storage, read_write> counts: array<u32>;
@group(0) @binding(3) var<uniform> p: Params;

var<workgroup> partial_sum: array<f32, 256>;
var<workgroup> partial_count: array<u32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let part = group.x + p.origin.x;
    var sum = E(0.0);
    var count = 0u;
    for (var turn = 0u; turn < p.turns; turn++) {
        let i = (part * p.turns + turn) * 256u + lane;
        if i < p.size {
            let value = x[i];
//!if V == 4
            let finite = (bitcast<vec4<u32>>(value) & vec4<u32>(0x7f800000u)) < vec4<u32>(0x7f800000u);
            let kept = select(vec4<f32>(0.0), value, finite);
            let lost = select(vec4<u32>(1u), vec4<u32>(0u), finite);
            count += (lost.x + lost.y) + (lost.z + lost.w);
//!else
            let finite = (bitcast<u32>(value) & 0x7f800000u) < 0x7f800000u;
            let kept = select(0.0, value, finite);
            count += select(1u, 0u, finite);
//!end
            sum += kept * kept;
        }
    }
//!if V == 4
    partial_sum[lane] = (sum.x + sum.y) + (sum.z + sum.w);
//!else
    partial_sum[lane] = sum;
//!end
    partial_count[lane] = count;
    for (var half = 128u; half > 0u; half >>= 1u) {
        // Parts the writes of both partial arrays from the reads of the next level.
        workgroupBarrier();
        if lane < half {
            partial_sum[lane] += partial_sum[lane + half];
            partial_count[lane] += partial_count[lane + half];
        }
    }
    if lane == 0u {
        sums[p.first + part] = partial_sum[0];
        counts[p.first + part] = partial_count[0];
    }
}
