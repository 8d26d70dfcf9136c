// grad_x = f'(x)·Σ 2π·w·(grad_sin·cos - grad_cos·sin) over the frequencies; writes `=`.
// grad_y: images width, grad_sin | grad_cos. x, weight as in forward.wgsl. grad_x: images.
// f' is 1/x with LOG, otherwise 1.
// A workgroup of 64 owns an image, an invocation every 64th frequency.
struct Params {
    origin: vec4<u32>,
    half: u32,
    width: u32,
}

@group(0) @binding(0) var<storage, read> grad_y: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> grad_x: array<f32>;
@group(0) @binding(4) var<uniform> p: Params;
//!use embedding/phase.wgsl
//!use shared/sum64.wgsl

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let image = group.x + p.origin.x;
    let base = image * p.width;
    var part = 0.0;
    for (var i = lane; i < p.half; i += 64u) {
        let at = phase(image, i);
        part += weight[i] * (grad_y[base + i] * at.y - grad_y[base + p.half + i] * at.x);
    }
    let total = 6.2831853 * sum64(part, lane);
    if lane == 0u {
//!if LOG
        grad_x[image] = total / x[image];
//!else
        grad_x[image] = total;
//!end
    }
}
