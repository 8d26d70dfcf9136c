// y = x + s[image]. IN_PLACE: y holds x at first.
// x, y: n images of `size` elements E; s: n.
// y[image, e] = x[image, e] + s[image].
// A workgroup owns 256 elements E, an invocation one.
//!use shared/element.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
    size: u32,
}

@group(0) @binding(0) var<storage, read> s: array<f32>;
//!if IN_PLACE
@group(0) @binding(1) var<storage, read_write> y: array<E>;
@group(0) @binding(2) var<uniform> p: Params;
//!else
@group(0) @binding(1) var<storage, read> x: array<E>;
@group(0) @binding(2) var<storage, read_write> y: array<E>;
@group(0) @binding(3) var<uniform> p: Params;
//!end

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + p.origin.x) * 256u + lane;
    if i >= p.count {
        return;
    }
//!if IN_PLACE
    y[i] += s[i / p.size];
//!else
    y[i] = x[i] + s[i / p.size];
//!end
}
