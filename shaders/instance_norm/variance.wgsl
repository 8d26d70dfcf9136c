// The table of VarianceNorm: y = alpha·x·r, r = 1/sqrt(unbiased variance + eps) of the channel; the mean stays.
// means: n 4 c, rows mean, …, r. table: n 4 c (shared/norm_finish.wgsl): scale = alpha·r, offset = scale·mean.
// alpha: c (Song and Ermon 2020, the authors' VarianceNorm2d).
// An invocation owns one channel of one image, a workgroup 64.
struct Params {
    origin: vec4<u32>,
    channels: u32,
    // Channels of all images.
    count: u32,
}

@group(0) @binding(0) var<storage, read> means: array<f32>;
@group(0) @binding(1) var<storage, read_write> table: array<f32>;
@group(0) @binding(2) var<storage, read> alpha: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let own = (group.x + p.origin.x) * 64u + lane;
    if own >= p.count {
        return;
    }
    let channel = own % p.channels;
    let at = own / p.channels * 4u * p.channels + channel;
    let mean = means[at];
    let inverse = means[at + 3u * p.channels];
    let scale = alpha[channel] * inverse;
    table[at] = mean;
    table[at + p.channels] = scale;
    table[at + 2u * p.channels] = scale * mean;
    table[at + 3u * p.channels] = inverse;
}
