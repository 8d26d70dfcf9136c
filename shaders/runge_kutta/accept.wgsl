// y = tried and the first slope = the last for the images whose number in a column of the table is not 0.
// tried, y: `count` elements E, `per_image` an image; slopes: SLOPES × count; table: rows × columns; counter: one u32.
// The end of a step that met the tolerance: its last slope is the first of the next one (Hairer, Nørsett and Wanner, II.4).
// A workgroup owns 256 elements, an invocation one.
//!use shared/element.wgsl
//!use shared/table_row.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
    rows: u32,
    columns: u32,
    per_step: u32,
    per_image: u32,
    column: u32,
}

@group(0) @binding(0) var<storage, read> tried: array<E>;
@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read> counter: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<E>;
@group(0) @binding(4) var<storage, read_write> slopes: array<E>;
@group(0) @binding(5) var<uniform> p: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + p.origin.x) * 256u + lane;
    if i >= p.count {
        return;
    }
    let row = table_row(counter[0], p.rows, p.per_step, i / p.per_image);
    // What was tried for an image that stays may be no number: it is not read.
    if table[row * p.columns + p.column] != 0.0 {
        y[i] = tried[i];
        slopes[i] = slopes[(SLOPES - 1u) * p.count + i];
    }
}
