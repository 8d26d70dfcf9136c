// What flows to x through the statistics of a channel: the rows of `gradient` (n 2 c) that shared/norm_backward.wgsl adds; `=`.
// sums: n 2 c, Σg and Σg·(x - mean). table: n 4 c (shared/norm_finish.wgsl). r = 1/sqrt(variance + eps).
// Plain instance norm: constant = -share·scale·Σg, slope = -share·scale·r²·Σg(x - mean), share = 1/(h·w). VARIANCE: constant = 0,
// slope = -share·scale·r²·Σgx, share = 1/(h·w - 1), and grad_rows (n c) = r·Σgx, the gradient of alpha by one image.
// An invocation owns one channel of one image, a workgroup 64.
struct Params {
    origin: vec4<u32>,
    channels: u32,
    // Channels of all images.
    count: u32,
    share: f32,
}

@group(0) @binding(0) var<storage, read> table: array<f32>;
@group(0) @binding(1) var<storage, read> sums: array<f32>;
@group(0) @binding(2) var<storage, read_write> gradient: array<f32>;
//!if VARIANCE
@group(0) @binding(3) var<storage, read_write> grad_rows: array<f32>;
@group(0) @binding(4) var<uniform> p: Params;
//!else
@group(0) @binding(3) var<uniform> p: Params;
//!end

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let own = (group.x + p.origin.x) * 64u + lane;
    if own >= p.count {
        return;
    }
    let image = own / p.channels;
    let at = image * 4u * p.channels + own % p.channels;
    let flows = image * 2u * p.channels + own % p.channels;
    let plain = sums[flows];
    let scale = table[at + p.channels];
    let inverse = table[at + 3u * p.channels];
//!if VARIANCE
    let dot = sums[flows + p.channels] + table[at] * plain;
    gradient[flows] = 0.0;
    grad_rows[own] = inverse * dot;
//!else
    let dot = sums[flows + p.channels];
    gradient[flows] = -p.share * scale * plain;
//!end
    gradient[flows + p.channels] = -p.share * scale * inverse * inverse * dot;
}
