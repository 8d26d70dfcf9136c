// y = f((x - mean)·scale + offset) with one mean, scale and offset per image and channel; f is SiLU with SILU.
// x, y: n pixels columns E; IN_PLACE: y holds x at first. table: n 4 columns E, rows mean, scale, offset (shared/norm_finish.wgsl).
// The mean is taken off first: folding it into the offset would cancel.
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
@group(0) @binding(0) var<storage, read> table: array<E>;
@group(0) @binding(1) var<storage, read_write> y: array<E>;
@group(0) @binding(2) var<uniform> p: Params;
//!else
@group(0) @binding(0) var<storage, read> x: array<E>;
@group(0) @binding(1) var<storage, read> table: array<E>;
@group(0) @binding(2) var<storage, read_write> y: array<E>;
@group(0) @binding(3) var<uniform> p: Params;
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
    let offset = table[entry + 2u * p.columns];
    let base = at.image * p.pixels;
    for (var pixel = at.pixel; pixel < at.end; pixel += p.workgroup_rows) {
        let i = (base + pixel) * p.columns + at.column;
//!if IN_PLACE
        let z = (y[i] - mean) * scale + offset;
//!else
        let z = (x[i] - mean) * scale + offset;
//!end
//!if SILU
        y[i] = silu(z);
//!else
        y[i] = z;
//!end
    }
}
