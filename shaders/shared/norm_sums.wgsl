// Sums over some pixels of each channel that every norm's gradient needs: Σg and Σg·(x - mean), g = grad_y·f'(z).
// grad_y, x: n pixels columns E. table: n 4 columns E (shared/norm_finish.wgsl). sums: n all_rows 2 columns E, written `=`.
// z = (x - mean)·scale + offset, computed again; f is SiLU with SILU, otherwise the identity.
// Workgroup and invocation as in shared/walk.wgsl; a row is what one invocation walks over.
//!use shared/element.wgsl
//!use shared/walk.wgsl
//!if SILU
//!use shared/silu.wgsl
//!end
struct Params {
    origin: vec4<u32>,
    pixels: u32,
    columns: u32,
    workgroup_columns: u32,
    workgroup_rows: u32,
    turns: u32,
    all_rows: u32,
}

@group(0) @binding(0) var<storage, read> grad_y: array<E>;
@group(0) @binding(1) var<storage, read> x: array<E>;
@group(0) @binding(2) var<storage, read> table: array<E>;
@group(0) @binding(3) var<storage, read_write> sums: array<E>;
@group(0) @binding(4) var<uniform> p: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = walk(group + p.origin.xyz, lane);
    if !at.inside {
        return;
    }
    let entry = at.image * 4u * p.columns + at.column;
    let mean = table[entry];
//!if SILU
    let scale = table[entry + p.columns];
    let offset = table[entry + 2u * p.columns];
//!end
    let base = at.image * p.pixels;
    var plain = E(0.0);
    var centred = E(0.0);
    for (var pixel = at.pixel; pixel < at.end; pixel += p.workgroup_rows) {
        let i = (base + pixel) * p.columns + at.column;
        let d = x[i] - mean;
//!if SILU
        let g = grad_y[i] * silu_slope(d * scale + offset);
//!else
        let g = grad_y[i];
//!end
        plain += g;
        centred += g * d;
    }
    let out = (at.image * p.all_rows + at.row) * 2u * p.columns + at.column;
    sums[out] = plain;
    sums[out + p.columns] = centred;
}
