// loss = ln Σ exp(x - max) - (x[label] - max): -ln softmax(x)[label], one number per row.
// x: rows width, the logits. labels: rows. loss: rows. A label past the last class takes the last one.
// Shifted by the largest logit, so that nothing overflows.
// A workgroup of 64 owns a row, an invocation every 64th logit of it.
struct Params {
    origin: vec4<u32>,
    width: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read_write> loss: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;
//!use shared/row_exp.wgsl

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = group.x + p.origin.x;
    let base = index * p.width;
    let row = row_exp(base, lane);
    if lane == 0u {
        let own = x[base + min(labels[index], p.width - 1u)];
        loss[index] = log(row.sum) - (own - row.largest);
    }
}
