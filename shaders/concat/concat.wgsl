// y = a and b side by side along the channels.
// a: rows `c1`, b: rows `c2`, y: rows `c1 + c2`, in elements E; `count` elements of y.
// y[r, j] = a[r, j] where j < c1, b[r, j - c1] elsewhere.
// A workgroup owns 256 elements of y, an invocation one.
//!use shared/element.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
    c1: u32,
    c2: u32,
}

@group(0) @binding(0) var<storage, read> a: array<E>;
@group(0) @binding(1) var<storage, read> b: array<E>;
@group(0) @binding(2) var<storage, read_write> y: array<E>;
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (group.x + p.origin.x) * 256u + lane;
    if at >= p.count {
        return;
    }
    let channel = at % (p.c1 + p.c2);
    let row = at / (p.c1 + p.c2);
    if channel < p.c1 {
        y[at] = a[row * p.c1 + channel];
    } else {
        y[at] = b[row * p.c2 + channel - p.c1];
    }
}
