// mean = a·x + b·score, y = mean + c·z, coefficients from the counter's row of a table.
// x, score, z, y, mean: `count` elements E, `per_image` an image; table: rows × columns; counter: one u32.
// The update of every predictor and of fixed-step correctors (Algorithm 1 of Song et al. 2021).
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
    a: u32,
    b: u32,
    c: u32,
}

@group(0) @binding(0) var<storage, read> x: array<E>;
@group(0) @binding(1) var<storage, read> score: array<E>;
//!if NOISE
@group(0) @binding(2) var<storage, read> z: array<E>;
//!end
@group(0) @binding(2 + NOISE) var<storage, read> table: array<f32>;
@group(0) @binding(3 + NOISE) var<storage, read> counter: array<u32>;
@group(0) @binding(4 + NOISE) var<storage, read_write> y: array<E>;
@group(0) @binding(5 + NOISE) var<storage, read_write> mean: array<E>;
@group(0) @binding(6 + NOISE) var<uniform> p: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + p.origin.x) * 256u + lane;
    if i >= p.count {
        return;
    }
    let row = table_row(counter[0], p.rows, p.per_step, i / p.per_image) * p.columns;
    let m = table[row + p.a] * x[i] + table[row + p.b] * score[i];
    mean[i] = m;
//!if NOISE
    y[i] = m + table[row + p.c] * z[i];
//!else
    y[i] = m;
//!end
}
