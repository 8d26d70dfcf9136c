// slopes[index] = slope, with the index from a column of the table.
// slope: `count` elements E, `per_image` an image; slopes: SLOPES × count; table: rows × columns; counter: one u32.
// One slope of a Runge-Kutta method; an index past the stack stays on its last slope.
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

@group(0) @binding(0) var<storage, read> slope: array<E>;
@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read> counter: array<u32>;
@group(0) @binding(3) var<storage, read_write> slopes: array<E>;
@group(0) @binding(4) var<uniform> p: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + p.origin.x) * 256u + lane;
    if i >= p.count {
        return;
    }
    let at = table[table_row(counter[0], p.rows, p.per_step, i / p.per_image) * p.columns + p.column];
    slopes[min(u32(at), SLOPES - 1u) * p.count + i] = slope[i];
}
