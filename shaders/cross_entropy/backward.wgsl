// grad_x = (softmax(x) - one_hot(label))·grad_loss of the row; writes `=`.
// x, grad_x: rows width, the logits. labels, grad_loss: rows. A label past the last class takes the last one.
// The softmax is computed again.
// A workgroup of 64 owns a row, an invocation every 64th logit of it.
struct Params {
    origin: vec4<u32>,
    width: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read> grad_loss: array<f32>;
@group(0) @binding(3) var<storage, read_write> grad_x: array<f32>;
@group(0) @binding(4) var<uniform> p: Params;
//!use shared/row_exp.wgsl

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = group.x + p.origin.x;
    let base = index * p.width;
    let row = row_exp(base, lane);
    let label = min(labels[index], p.width - 1u);
    let upstream = grad_loss[index];
    for (var i = lane; i < p.width; i += 64u) {
        let hot = select(0.0, 1.0, i == label);
        grad_x[base + i] = (exp(x[base + i] - row.largest) / row.sum - hot) * upstream;
    }
}
