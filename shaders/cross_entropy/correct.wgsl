// y = 1 where the label's logit is the largest of its row, the first among equals, else 0: one number per row.
// x: rows width, the logits. labels: rows. y: rows. A label past the last class takes the last one.
// Counts the logits that come before the label's in descending order.
// A workgroup of 64 owns a row, an invocation every 64th logit of it.
//!use shared/sum64.wgsl
struct Params {
    origin: vec4<u32>,
    width: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = group.x + p.origin.x;
    let base = index * p.width;
    let label = min(labels[index], p.width - 1u);
    let own = x[base + label];
    var before = 0.0;
    for (var i = lane; i < p.width; i += 64u) {
        let other = x[base + i];
        if other > own || (other == own && i < label) {
            before += 1.0;
        }
    }
    before = sum64(before, lane);
    if lane == 0u {
        y[index] = select(0.0, 1.0, before == 0.0);
    }
}
