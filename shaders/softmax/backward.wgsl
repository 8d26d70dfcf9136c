// grad_x = y·(grad_y - Σ grad_y·y) over the last axis; writes `=`.
// grad_y, y, grad_x: rows width.
// From the output, so that nothing is exponentiated again.
// A workgroup of 64 owns a row, an invocation every 64th number of it.
struct Params {
    origin: vec4<u32>,
    width: u32,
}

@group(0) @binding(0) var<storage, read> grad_y: array<f32>;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> grad_x: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;
//!use shared/sum64.wgsl

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let base = (group.x + p.origin.x) * p.width;
    var part = 0.0;
    for (var i = lane; i < p.width; i += 64u) {
        part += grad_y[base + i] * y[base + i];
    }
    let dot = sum64(part, lane);
    for (var i = lane; i < p.width; i += 64u) {
        grad_x[base + i] = y[base + i] * (grad_y[base + i] - dot);
    }
}
