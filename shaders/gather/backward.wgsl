// The gradient of forward.wgsl by the table; writes `=`.
// grad_y: n m, labels: n numbers, grad_table: k m; `count` elements of grad_table.
// grad_table[r, j] = sum of grad_y[i, j] over the i whose label takes row r, in the order of i.
// A workgroup owns 256 elements of grad_table, an invocation one.
//!use gather/label.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
    k: u32,
    m: u32,
    n: u32,
}

@group(0) @binding(0) var<storage, read> grad_y: array<f32>;
@group(0) @binding(1) var<storage, read> labels: array<Label>;
@group(0) @binding(2) var<storage, read_write> grad_table: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (group.x + p.origin.x) * 256u + lane;
    if at >= p.count {
        return;
    }
    let row = at / p.m;
    let column = at % p.m;
    var sum = 0.0;
    for (var i = 0u; i < p.n; i++) {
        if row_of(labels[i], p.k) == row {
            sum += grad_y[i * p.m + column];
        }
    }
    grad_table[at] = sum;
}
