// The norm over all segments, and how many gradients are not finite; a norm that overflows counts as one more.
// sums, counts: `parts` numbers; norm, nonfinite: one each.
// norm = √Σ sums, in the order of a tree over every 256th part.
// One workgroup owns it all, an invocation every 256th part.
struct Params {
    origin: vec4<u32>,
    parts: u32,
}

@group(0) @binding(0) var<storage, read> sums: array<f32>;
@group(0) @binding(1) var<storage, read> counts: array<u32>;
@group(0) @binding(2) var<storage, read_write> norm: array<f32>;
@group(0) @binding(3) var<storage, read_write> nonfinite: array<u32>;
@group(0) @binding(4) var<uniform> p: Params;

var<workgroup> partial_sum: array<f32, 256>;
var<workgroup> partial_count: array<u32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    var count = 0u;
    for (var i = lane; i < p.parts; i += 256u) {
        sum += sums[i];
        count += counts[i];
    }
    partial_sum[lane] = sum;
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
        let total = partial_sum[0];
        let overflow = (bitcast<u32>(total) & 0x7f800000u) == 0x7f800000u;
        norm[0] = sqrt(total);
        nonfinite[0] = partial_count[0] + select(0u, 1u, overflow);
    }
}
