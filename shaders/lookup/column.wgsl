// y[i] = table[min(counter, rows − 1), column] for every image.
// table: rows × columns; counter: one u32; y: n.
// A counter behind the last row stays on it, so that no replay reads outside.
// A workgroup owns 64 images, an invocation one.
struct Params {
    origin: vec4<u32>,
    n: u32,
    rows: u32,
    columns: u32,
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
    y[i] = table[min(counter[0], p.rows - 1u) * p.columns + p.column];
}
