// y = gain·x, every pixel four times (nearest neighbour); also the gradient of down.wgsl, written with `=`.
// x: n h `w` c, y: n 2h 2w c, both `channels` elements E deep; `count` elements of x.
// y[2i + r, 2j + s] = gain·x[i, j].
// A workgroup owns 256 pixels of x, an invocation one E of one pixel and the four that it becomes.
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
    let value = p.gain * x[at];
    let left = 4u * (pixel / p.w) * p.w + 2u * (pixel % p.w);
    let below = left + 2u * p.w;
    y[left * p.channels + channel] = value;
    y[(left + 1u) * p.channels + channel] = value;
    y[below * p.channels + channel] = value;
    y[(below + 1u) * p.channels + channel] = value;
}
