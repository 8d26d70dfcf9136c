// r = (c_y·y + Σ_j c_j·slope_j) / (atol + rtol·max(|y|, |other|)).
// y, other, r: `count` elements E, `per_image` an image; slopes: SLOPES × count; table: rows × columns with c_j, c_y, rtol, atol from `column` on; counter: one u32.
// The error estimate over its scale (Hairer, Nørsett and Wanner, II.4, with scipy's scale); a slope whose factor is 0 is not read.
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
@group(0) @binding(1) var<storage, read> other: array<E>;
@group(0) @binding(2) var<storage, read> slopes: array<E>;
@group(0) @binding(3) var<storage, read> table: array<f32>;
@group(0) @binding(4) var<storage, read> counter: array<u32>;
@group(0) @binding(5) var<storage, read_write> r: array<E>;
@group(0) @binding(6) var<uniform> p: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + p.origin.x) * 256u + lane;
    if i >= p.count {
        return;
    }
    let c = table_row(counter[0], p.rows, p.per_step, i / p.per_image) * p.columns + p.column;
    var sum = table[c + SLOPES] * y[i];
    for (var j = 0u; j < SLOPES; j++) {
        let factor = table[c + j];
        if factor != 0.0 {
            sum += factor * slopes[j * p.count + i];
        }
    }
    let scale = table[c + SLOPES + 2u] + table[c + SLOPES + 1u] * max(abs(y[i]), abs(other[i]));
    r[i] = sum / scale;
}
