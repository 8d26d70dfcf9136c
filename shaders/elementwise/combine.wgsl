// y = Σ k_i·x_i over TERMS tensors of one shape.
// x_i, y: `count` elements E.
// IN_PLACE: y holds x_0 at first.
// A workgroup owns 256 elements, an invocation one.
//!use shared/element.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
//!for i in 0..TERMS
    k$i: f32,
//!end
}

//!if IN_PLACE
//!for i in 1..TERMS
@group(0) @binding($i - 1) var<storage, read> x$i: array<E>;
//!end
@group(0) @binding(TERMS - 1) var<storage, read_write> y: array<E>;
@group(0) @binding(TERMS) var<uniform> p: Params;
//!else
//!for i in 0..TERMS
@group(0) @binding($i) var<storage, read> x$i: array<E>;
//!end
@group(0) @binding(TERMS) var<storage, read_write> y: array<E>;
@group(0) @binding(TERMS + 1) var<uniform> p: Params;
//!end

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + p.origin.x) * 256u + lane;
    if i >= p.count {
        return;
    }
//!if IN_PLACE
    var sum = p.k0 * y[i];
//!else
    var sum = p.k0 * x0[i];
//!end
//!for i in 1..TERMS
    sum += p.k$i * x$i[i];
//!end
    y[i] = sum;
}
