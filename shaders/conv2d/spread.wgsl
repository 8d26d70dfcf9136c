// y = x with stride − 1 zeros between its pixels: the gradient by the input of a convolution with a stride is a convolution of it.
// x: n ho wo columns E; y: n h w columns E, h = (ho − 1)·stride + 1 and w alike.
// y[n, stride·i, stride·j] = x[n, i, j], zero elsewhere (Dumoulin and Visin 2016, section 4.5).
// A workgroup owns 256 elements of y, an invocation one.
//!use shared/element.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
    h: u32,
    w: u32,
    columns: u32,
    ho: u32,
    wo: u32,
    stride: u32,
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
    let pixel = at / p.columns;
    let row = pixel / p.w % p.h;
    let column = pixel % p.w;
    var value = E(0.0);
    if row % p.stride == 0u && column % p.stride == 0u {
        let image = pixel / (p.w * p.h);
        value = x[((image * p.ho + row / p.stride) * p.wo + column / p.stride) * p.columns + at % p.columns];
    }
    y[at] = value;
}
