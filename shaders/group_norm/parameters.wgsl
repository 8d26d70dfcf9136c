// The gradients by weight and bias: grad_weight = Σ r·Σg(x - mean), grad_bias = Σ Σg over images, r = 1/sqrt(variance + eps).
// sums: n 2 c, Σg and Σg·(x - mean) of each channel of an image. table: n 4 c (shared/norm_finish.wgsl).
// grad_weight, grad_bias: c, written `=`. Images are summed in their order.
// An invocation owns one channel, a workgroup 64.
struct Params {
    origin: vec4<u32>,
    channels: u32,
    images: u32,
}

@group(0) @binding(0) var<storage, read> sums: array<f32>;
@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read_write> grad_weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> grad_bias: array<f32>;
@group(0) @binding(4) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let channel = (group.x + p.origin.x) * 64u + lane;
    if channel >= p.channels {
        return;
    }
    var by_weight = 0.0;
    var by_bias = 0.0;
    // Blocks, since a loop may not exceed 65,535 turns on every driver.
    for (var block = 0u; block < p.images; block += 4096u) {
        for (var image = block; image < min(block + 4096u, p.images); image++) {
            let inverse = table[(image * 4u + 3u) * p.channels + channel];
            by_weight += inverse * sums[(image * 2u + 1u) * p.channels + channel];
            by_bias += sums[image * 2u * p.channels + channel];
        }
    }
    grad_weight[channel] = by_weight;
    grad_bias[channel] = by_bias;
}
