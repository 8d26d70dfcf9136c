// y = x³.
// x, y: `count` numbers.
// A workgroup owns 256 numbers, an invocation one.
struct Params {
    origin: vec4<u32>,
    count: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + p.origin.x) * 256u + lane;
    if i < p.count {
        y[i] = x[i] * x[i] * x[i];
    }
}
