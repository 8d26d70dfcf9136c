// x = y + Σ_j c_j·slope_j, the state at which a stage asks for its slope.
// y, x: `count` elements E, `per_image` an image; slopes: SLOPES × count; table: rows × columns, a c for each slope from `column` on; counter: one u32.
// A stage of a Runge-Kutta method; a slope whose factor is 0 is not read, so that it may hold anything.
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

@group(0) @binding(0) var<storage, read> y: array<E>;
@group(0) @binding(1) var<storage, read> slopes: array<E>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read> counter: array<u32>;
@group(0) @binding(4) var<storage, read_write> x: array<E>;
@group(0) @binding(5) var<uniform> p: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + p.origin.x) * 256u + lane;
    if i >= p.count {
        return;
    }
    let c = table_row(counter[0], p.rows, p.per_step, i / p.per_image) * p.columns + p.column;
    var change = E(0.0);
    for (var j = 0u; j < SLOPES; j++) {
        let factor = table[c + j];
        if factor != 0.0 {
            change += factor * slopes[j * p.count + i];
        }
    }
    x[i] = y[i] + change;
}
