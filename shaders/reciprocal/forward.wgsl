// y = one over x, bounded.
// x, y: `count` elements E.
// y = 1 / max(x, floor).
// A workgroup owns 256 elements, an invocation one.
//!use shared/element.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
    least: f32,
}

@group(0) @binding(0) var<storage, read> x: array<E>;
@group(0) @binding(1) var<storage, read_write> y: array<E>;
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + p.origin.x) * 256u + lane;
    if i >= p.count {
        return;
    }
    y[i] = 1.0 / max(x[i], E(p.least));
}
