// y[i] = table[row, column], with the counter's row for image i.
// table: rows × columns; counter: one u32; y: n.
// A table says for each step, and where it has a row for each image for each of them, what a sampler needs.
// A workgroup owns 64 images, an invocation one.
//!use shared/table_row.wgsl
struct Params {
    origin: vec4<u32>,
    n: u32,
    rows: u32,
    columns: u32,
    per_step: u32,
    column: u32,
}

@group(0) @binding(0) var<storage, read> table: array<f32>;
@group(0) @binding(1) var<storage, read> counter: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + p.origin.x) * 64u + lane;
    if i >= p.n {
        return;
    }
    y[i] = table[table_row(counter[0], p.rows, p.per_step, i) * p.columns + p.column];
}
