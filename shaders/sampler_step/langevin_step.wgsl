// step[i] = scale·(|z|/|score|)², the step size of the Langevin corrector for image i.
// squares: n sums of squares each; table: rows × columns; counter: one u32; step: n.
// Algorithms 4 and 5 of Song et al. 2021; BATCH takes the means of the norms over the batch, as the authors' code does. No score, no step.
// A workgroup owns 64 images, an invocation one.
//!use shared/table_row.wgsl
struct Params {
    origin: vec4<u32>,
    n: u32,
    rows: u32,
    columns: u32,
    per_step: u32,
    scale: u32,
}

@group(0) @binding(0) var<storage, read> score_squares: array<f32>;
@group(0) @binding(1) var<storage, read> z_squares: array<f32>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read> counter: array<u32>;
@group(0) @binding(4) var<storage, read_write> step: array<f32>;
@group(0) @binding(5) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + p.origin.x) * 64u + lane;
    if i >= p.n {
        return;
    }
//!if BATCH
    var of_z = 0.0;
    var of_score = 0.0;
    for (var n = 0u; n < p.n; n++) {
        of_z += sqrt(z_squares[n]);
        of_score += sqrt(score_squares[n]);
    }
//!else
    let of_z = sqrt(z_squares[i]);
    let of_score = sqrt(score_squares[i]);
//!end
    let row = table_row(counter[0], p.rows, p.per_step, i) * p.columns;
    let ratio = select(0.0, of_z / of_score, of_score > 0.0);
    step[i] = table[row + p.scale] * ratio * ratio;
}
