// y = a window of the channels of x, zeros where x has none; also the gradients of concat.wgsl and of itself, written with `=`.
// x: rows `c_x`, y: rows `c_y`, in elements E; `count` elements of y; the window begins at element `start`, which may be negative.
// y[r, j] = x[r, start + j] where 0 <= start + j < c_x, 0 elsewhere.
// A workgroup owns 256 elements of y, an invocation one.
//!use shared/element.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
    c_x: u32,
    c_y: u32,
    start: i32,
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
    let channel = i32(at % p.c_y) + p.start;
    let row = at / p.c_y;
    if channel >= 0 && channel < i32(p.c_x) {
        y[at] = x[row * p.c_x + u32(channel)];
    } else {
        y[at] = E(0.0);
    }
}
