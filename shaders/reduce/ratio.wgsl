// y = a/b, and 0 where b is 0: what the gradient of a norm needs.
// a, b, y: `count` floats.
// d√S/dx = x/√S; at √S = 0 the subgradient 0 is taken.
// A workgroup owns 256 elements, an invocation one.
struct Params {
    origin: vec4<u32>,
    count: u32,
}

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + p.origin.x) * 256u + lane;
    if i >= p.count {
        return;
    }
    let divisor = b[i];
    y[i] = select(a[i] / select(divisor, 1.0, divisor == 0.0), 0.0, divisor == 0.0);
}
