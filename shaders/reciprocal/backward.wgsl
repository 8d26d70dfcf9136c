// The gradient of forward.wgsl; writes `=`.
// grad_y, x, grad_x: `count` elements E.
// grad_x = -grad_y / x^2 where x > floor, 0 elsewhere.
// A workgroup owns 256 elements, an invocation one.
//!use shared/element.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
    least: f32,
}

@group(0) @binding(0) var<storage, read> grad_y: array<E>;
@group(0) @binding(1) var<storage, read> x: array<E>;
@group(0) @binding(2) var<storage, read_write> grad_x: array<E>;
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + p.origin.x) * 256u + lane;
    if i >= p.count {
        return;
    }
    let r = 1.0 / max(x[i], E(p.least));
    grad_x[i] = select(E(0.0), -grad_y[i] * r * r, x[i] > E(p.least));
}
