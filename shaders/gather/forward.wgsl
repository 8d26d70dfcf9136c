// y = rows of a table by label.
// table: k m, labels: n numbers, y: n m; `count` elements of y.
// y[i, j] = table[clamp(trunc(labels[i]), 0, k - 1), j].
// A workgroup owns 256 elements of y, an invocation one.
//!use gather/label.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
    k: u32,
    m: u32,
}

@group(0) @binding(0) var<storage, read> table: array<f32>;
@group(0) @binding(1) var<storage, read> labels: array<Label>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (group.x + p.origin.x) * 256u + lane;
    if at >= p.count {
        return;
    }
    let row = row_of(labels[at / p.m], p.k);
    y[at] = table[row * p.m + at % p.m];
}
