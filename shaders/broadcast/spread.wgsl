// y = `factor` times one number for all elements of each image; also the gradient of a sum, written with `=`.
// s: n; y: n images of `size` elements E.
// y[image, e] = factor·s[image].
// A workgroup owns 256 elements E, an invocation one.
//!use shared/element.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
    size: u32,
    factor: f32,
}

@group(0) @binding(0) var<storage, read> s: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<E>;
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + p.origin.x) * 256u + lane;
    if i >= p.count {
        return;
    }
    y[i] = E(p.factor * s[i / p.size]);
}
