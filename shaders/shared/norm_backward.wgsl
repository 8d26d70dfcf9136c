// grad_x = scale·g + constant + slope·(x - mean), g = grad_y·f'(z): the gradient by x of every norm; writes `=`.
// grad_y, x, grad_x: n pixels columns E; IN_PLACE: grad_x holds grad_y at first. table: n 4 columns E (shared/norm_finish.wgsl).
// gradient: n 2 columns E, rows constant and slope: what flows through the statistics. f as in shared/norm_sums.wgsl.
// Workgroup and invocation as in shared/walk.wgsl.
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
}

//!if IN_PLACE
@group(0) @binding(0) var<storage, read> x: array<E>;
@group(0) @binding(1) var<storage, read> table: array<E>;
@group(0) @binding(2) var<storage, read> gradient: array<E>;
@group(0) @binding(3) var<storage, read_write> grad_x: array<E>;
@group(0) @binding(4) var<uniform> p: Params;
//!else
@group(0) @binding(0) var<storage, read> grad_y: array<E>;
@group(0) @binding(1) var<storage, read> x: array<E>;
@group(0) @binding(2) var<storage, read> table: array<E>;
@group(0) @binding(3) var<storage, read> gradient: array<E>;
@group(0) @binding(4) var<storage, read_write> grad_x: array<E>;
@group(0) @binding(5) var<uniform> p: Params;
//!end

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = walk(group + p.origin.xyz, lane);
    if !at.inside {
        return;
    }
    let entry = at.image * 4u * p.columns + at.column;
    let mean = table[entry];
    let scale = table[entry + p.columns];
//!if SILU
    let offset = table[entry + 2u * p.columns];
//!end
    let flows = at.image * 2u * p.columns + at.column;
    let constant = gradient[flows];
    let slope = gradient[flows + p.columns];
    let base = at.image * p.pixels;
    for (var pixel = at.pixel; pixel < at.end; pixel += p.workgroup_rows) {
        let i = (base + pixel) * p.columns + at.column;
        let d = x[i] - mean;
//!if IN_PLACE
        var g = grad_x[i];
//!else
        var g = grad_y[i];
//!end
//!if SILU
        g *= silu_slope(d * scale + offset);
//!end
        grad_x[i] = scale * g + constant + slope * d;
    }
}
