// y = f(x), element by element.
// x, y: `count` elements E. IN_PLACE: y holds x at first.
// f is KIND of shared/activation.wgsl; SiLU is x·sigmoid(x) (Elfwing et al. 2018), ELU has alpha = 1 (Clevert et al. 2016).
// A workgroup owns 256 elements, an invocation one.
//!use shared/element.wgsl
//!use shared/activation.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
}

//!if IN_PLACE
@group(0) @binding(0) var<storage, read_write> y: array<E>;
@group(0) @binding(1) var<uniform> p: Params;
//!else
@group(0) @binding(0) var<storage, read> x: array<E>;
@group(0) @binding(1) var<storage, read_write> y: array<E>;
@group(0) @binding(2) var<uniform> p: Params;
//!end

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + p.origin.x) * 256u + lane;
    if i >= p.count {
        return;
    }
//!if IN_PLACE
    y[i] = activate(y[i]);
//!else
    y[i] = activate(x[i]);
//!end
}
