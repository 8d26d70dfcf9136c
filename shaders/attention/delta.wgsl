// delta = Σ_c y·grad_y for each position: what every gradient by logits of its row takes off.
// y, grad_y: `rows` rows of `columns` elements E; delta: one number a row.
// delta[row] = Σ_c y[row, c]·grad_y[row, c] (Dao et al. 2022, FlashAttention, Algorithm 4).
// A workgroup owns 64 rows, an invocation one.
//!use shared/element.wgsl
struct Params {
    origin: vec4<u32>,
    rows: u32,
    columns: u32,
}

@group(0) @binding(0) var<storage, read> y: array<E>;
@group(0) @binding(1) var<storage, read> grad_y: array<E>;
@group(0) @binding(2) var<storage, read_write> delta: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = (group.x + p.origin.x) * 64u + lane;
    if row >= p.rows {
        return;
    }
    var sum = E(0.0);
    for (var i = 0u; i < p.columns; i++) {
        sum += y[row * p.columns + i] * grad_y[row * p.columns + i];
    }
//!if V == 4
    delta[row] = (sum.x + sum.y) + (sum.z + sum.w);
//!else
    delta[row] = sum;
//!end
}
