// y = gain times the sum of each block of 2x2 pixels (the mean for gain 1/4); also the gradient of up.wgsl, written with `=`.
// x: n 2h 2w c, y: n h `w` c, both `channels` elements E deep; `count` elements of y.
// y[i, j] = gain·Σ_rs x[2i + r, 2j + s].
// A workgroup owns 256 elements E of y, an invocation one.
//!use shared/element.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
    w: u32,
    channels: u32,
    gain: f32,
}

@group(0) @binding(0) var<storage, read> x: array<E>;
@group(0) @binding(1) var<storage, read_write> y: array<E>;
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (group.x + p.origin.x) * 256u + lane;
    if at >= p.count {
        return;
    }
    let channel = at % p.channels;
    let pixel = at / p.channels;
    let left = 4u * (pixel / p.w) * p.w + 2u * (pixel % p.w);
    let below = left + 2u * p.w;
    let above = x[left * p.channels + channel] + x[(left + 1u) * p.channels + channel];
    y[at] = p.gain * (above + (x[below * p.channels + channel] + x[(below + 1u) * p.channels + channel]));
}
