// InstanceNorm++ backwards, image by image: what flows to x through the statistics, and the gradients of gamma, alpha and beta.
// means: the table n 4 c of plus.wgsl; sums: n 2 c, Σg and Σg·(x - mean). gradient: n 2 c for shared/norm_backward.wgsl, written `=`.
// grad_rows: n 3 c or n 2 c, gamma | alpha | beta, written `=`. With m, s the standardised mean and its 1/sqrt(variance + eps),
// u = gamma·alpha·Σg: grad_mean = s·(u - Σu/c - m·Σum/(c - 1)); it reaches every pixel of the channel.
// A workgroup of 64 owns an image, an invocation every 64th channel.
struct Params {
    origin: vec4<u32>,
    channels: u32,
    eps: f32,
    // 1/(h·w).
    share: f32,
}

@group(0) @binding(0) var<storage, read> means: array<f32>;
@group(0) @binding(1) var<storage, read> sums: array<f32>;
@group(0) @binding(2) var<storage, read_write> gradient: array<f32>;
@group(0) @binding(3) var<storage, read_write> grad_rows: array<f32>;
//!if CONDITIONAL
@group(0) @binding(4) var<storage, read> rows: array<f32>;
@group(0) @binding(5) var<uniform> p: Params;
//!else
@group(0) @binding(4) var<storage, read> gamma: array<f32>;
@group(0) @binding(5) var<storage, read> alpha: array<f32>;
@group(0) @binding(6) var<uniform> p: Params;
//!end
//!use shared/sum64.wgsl
//!use instance_norm/standardise.wgsl

fn gamma_of(image: u32, channel: u32) -> f32 {
//!if CONDITIONAL
    return rows[image * (2u + BIAS) * p.channels + channel];
//!else
    return gamma[channel];
//!end
}

fn alpha_of(image: u32, channel: u32) -> f32 {
//!if CONDITIONAL
    return rows[(image * (2u + BIAS) + 1u) * p.channels + channel];
//!else
    return alpha[channel];
//!end
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let image = group.x + p.origin.x;
    let standard = standard_of(image, lane);
    let base = image * 4u * p.channels;
    let flows = image * 2u * p.channels;
    var upstream = 0.0;
    var times_mean = 0.0;
    for (var channel = lane; channel < p.channels; channel += 64u) {
        let u = gamma_of(image, channel) * alpha_of(image, channel) * sums[flows + channel];
        upstream += u;
        times_mean += u * (means[base + channel] - standard.mean) * standard.inverse;
    }
    let upstream_mean = sum64(upstream, lane) / f32(p.channels);
    let dot = sum64(times_mean, lane) / (f32(p.channels) - 1.0);
    for (var channel = lane; channel < p.channels; channel += 64u) {
        let plain = sums[flows + channel];
        let centred = sums[flows + p.channels + channel];
        let scale = means[base + p.channels + channel];
        let inverse = means[base + 3u * p.channels + channel];
        let m = (means[base + channel] - standard.mean) * standard.inverse;
        let own_gamma = gamma_of(image, channel);
        let own_alpha = alpha_of(image, channel);
        let grad_mean = standard.inverse * (own_gamma * own_alpha * plain - upstream_mean - m * dot);
        gradient[flows + channel] = p.share * (grad_mean - scale * plain);
        gradient[flows + p.channels + channel] = -p.share * scale * inverse * inverse * centred;
        let row = image * (2u + BIAS) * p.channels + channel;
        grad_rows[row] = inverse * centred + own_alpha * m * plain;
        grad_rows[row + p.channels] = own_gamma * m * plain;
//!if BIAS
        grad_rows[row + 2u * p.channels] = plain;
//!end
    }
}
