// grad_x = grad_y·f'(x), element by element; writes `=`.
// grad_y, x, grad_x: `count` elements E. IN_PLACE: grad_x holds grad_y at first.
// f is KIND of shared/activation.wgsl.
// A workgroup owns 256 elements, an invocation one.
//!use shared/element.wgsl
//!use shared/activation.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
}

//!if IN_PLACE
@group(0) @binding(0) var<storage, read> x: array<E>;
@group(0) @binding(1) var<storage, read_write> grad_x: array<E>;
@group(0) @binding(2) var<uniform> p: Params;
//!else
@group(0) @binding(0) var<storage, read> grad_y: array<E>;
@group(0) @binding(1) var<storage, read> x: array<E>;
@group(0) @binding(2) var<storage, read_write> grad_x: array<E>;
@group(0) @binding(3) var<uniform> p: Params;
//!end

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + p.origin.x) * 256u + lane;
    if i >= p.count {
        return;
    }
//!if IN_PLACE
    grad_x[i] *= slope(x[i]);
//!else
    grad_x[i] = grad_y[i] * slope(x[i]);
//!end
}
