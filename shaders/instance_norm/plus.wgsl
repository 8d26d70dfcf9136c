// The table of InstanceNorm++: y = gamma·((x - mean)·r + alpha·m) + beta, m the standardised mean of the channel.
// means: n 4 c, rows mean, …, r = 1/sqrt(variance + eps). table: n 4 c (shared/norm_finish.wgsl), scale = gamma·r,
// offset = gamma·alpha·m + beta. gamma, alpha, beta: c each; with CONDITIONAL, `rows` has gamma | alpha | beta of each image side by
// side (Song and Ermon 2020). Without BIAS there is no beta. A workgroup of 64 owns an image, an invocation every 64th channel.
struct Params {
    origin: vec4<u32>,
    channels: u32,
    eps: f32,
}

@group(0) @binding(0) var<storage, read> means: array<f32>;
@group(0) @binding(1) var<storage, read_write> table: array<f32>;
//!if CONDITIONAL
@group(0) @binding(2) var<storage, read> rows: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;
//!else
@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<storage, read> alpha: array<f32>;
//!if BIAS
@group(0) @binding(4) var<storage, read> beta: array<f32>;
@group(0) @binding(5) var<uniform> p: Params;
//!else
@group(0) @binding(4) var<uniform> p: Params;
//!end
//!end
//!use shared/sum64.wgsl
//!use instance_norm/standardise.wgsl

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let image = group.x + p.origin.x;
    let standard = standard_of(image, lane);
    for (var channel = lane; channel < p.channels; channel += 64u) {
        let at = image * 4u * p.channels + channel;
        let mean = means[at];
        let inverse = means[at + 3u * p.channels];
//!if CONDITIONAL
        let row = image * (2u + BIAS) * p.channels + channel;
        let own_gamma = rows[row];
        let own_alpha = rows[row + p.channels];
//!else
        let own_gamma = gamma[channel];
        let own_alpha = alpha[channel];
//!end
        var offset = own_gamma * own_alpha * (mean - standard.mean) * standard.inverse;
//!if BIAS
//!if CONDITIONAL
        offset += rows[row + 2u * p.channels];
//!else
        offset += beta[channel];
//!end
//!end
        table[at] = mean;
        table[at + p.channels] = own_gamma * inverse;
        table[at + 2u * p.channels] = offset;
        table[at + 3u * p.channels] = inverse;
    }
}
