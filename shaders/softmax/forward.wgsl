// y = exp(x - max)/Σ exp(x - max) over the last axis.
// x, y: rows width.
// Three passes over a row: the largest, the sum, the quotients.
// A workgroup of 64 owns a row, an invocation every 64th number of it.
struct Params {
    origin: vec4<u32>,
    width: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> p: Params;
//!use shared/row_exp.wgsl

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let base = (group.x + p.origin.x) * p.width;
    let row = row_exp(base, lane);
    for (var i = lane; i < p.width; i += 64u) {
        y[base + i] = exp(x[base + i] - row.largest) / row.sum;
    }
}
