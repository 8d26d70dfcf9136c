// Mean and sum of squared deviations of some pixels of each channel: the first stage of every norm's statistics.
// x: n pixels columns E. moments: n rows 2 columns E, mean then sum; zeros where a row has no pixel.
// Shifted by the first pixel, d = x - x_0: mean = x_0 + Σd/k, sum = Σd² - (Σd)²/k (Chan et al. 1983), which bears any offset.
// Workgroup and invocation as in shared/walk.wgsl; a row is what one invocation walks over.
//!use shared/element.wgsl
//!use shared/walk.wgsl
struct Params {
    origin: vec4<u32>,
    pixels: u32,
    columns: u32,
    workgroup_columns: u32,
    workgroup_rows: u32,
    turns: u32,
    all_rows: u32,
}

@group(0) @binding(0) var<storage, read> x: array<E>;
@group(0) @binding(1) var<storage, read_write> moments: array<E>;
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = walk(group + p.origin.xyz, lane);
    if !at.inside {
        return;
    }
    var mean = E(0.0);
    var deviations = E(0.0);
    if at.pixel < at.end {
        let base = at.image * p.pixels;
        let shift = x[(base + at.pixel) * p.columns + at.column];
        var sum = E(0.0);
        var squares = E(0.0);
        for (var i = at.pixel + p.workgroup_rows; i < at.end; i += p.workgroup_rows) {
            let d = x[(base + i) * p.columns + at.column] - shift;
            sum += d;
            squares += d * d;
        }
        let count = (at.end - at.pixel + p.workgroup_rows - 1u) / p.workgroup_rows;
        let moved = sum / f32(count);
        mean = shift + moved;
        deviations = max(squares - sum * moved, E(0.0));
    }
    let out = (at.image * p.all_rows + at.row) * 2u * p.columns + at.column;
    moments[out] = mean;
    moments[out + p.columns] = deviations;
}
