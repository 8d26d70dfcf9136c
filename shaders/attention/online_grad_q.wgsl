// grad_q of attention, written with `=`; probabilities are computed again, block by block of keys.
// q, k, v, grad_y, grad_q: n images of `positions` rows of `channels` elements E, grad_q by the lines of q; lse, delta: one number a position.
// grad_q_i = scale·Σ_j p_ij·(grad_y_i·v_j − delta_i)·k_j, p_ij = exp(scale·q_i·k_j − lse_i) (Dao et al. 2022, Algorithm 4).
// A workgroup owns 16 queries by 64 elements E of grad_q, an invocation one query by 4 E; each block of 16 keys is one score each.
//!use shared/element.wgsl
struct Params {
    origin: vec4<u32>,
    positions: u32,
    channels: u32,
    scale: f32,
}

@group(0) @binding(0) var<storage, read> q: array<E>;
@group(0) @binding(1) var<storage, read> k: array<E>;
@group(0) @binding(2) var<storage, read> v: array<E>;
@group(0) @binding(3) var<storage, read> grad_y: array<E>;
@group(0) @binding(4) var<storage, read> lse: array<f32>;
@group(0) @binding(5) var<storage, read> delta: array<f32>;
@group(0) @binding(6) var<storage, read_write> grad_q: array<E>;
@group(0) @binding(7) var<uniform> p: Params;

var<workgroup> tile: array<f32, 256>;

fn across(x: E) -> f32 {
//!if V == 4
    return (x.x + x.y) + (x.z + x.w);
//!else
    return x;
//!end
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let image = (group.z + p.origin.z) * p.positions;
    let row = (group.x + p.origin.x) * 16u + lane / 16u;
    let own = lane % 16u;
    let block = (group.y + p.origin.y) * 64u;
    let position = image + min(row, p.positions - 1u);
    let query = position * p.channels;
    let slopes = position * p.channels;
//!for u in 0..4
    let channel$u = min(block + own + ${u}u * 16u, p.channels - 1u);
    var sum$u = E(0.0);
//!end
    for (var first = 0u; first < p.positions; first += 16u) {
        let key = first + own;
        let line = (image + min(key, p.positions - 1u)) * p.channels;
        var score = E(0.0);
        var slope = E(0.0);
        for (var i = 0u; i < p.channels; i++) {
            score += q[query + i] * k[line + i];
            slope += grad_y[slopes + i] * v[line + i];
        }
        let weight = exp(p.scale * across(score) - lse[position]);
        let grad = p.scale * weight * (across(slope) - delta[position]);
        tile[lane] = select(0.0, grad, key < p.positions);
        // Parts the writes of the gradients by scores from their reads.
        workgroupBarrier();
        for (var j = 0u; j < 16u; j++) {
            let g = tile[lane - own + j];
            let other = (image + min(first + j, p.positions - 1u)) * p.channels;
//!for u in 0..4
            sum$u += g * k[other + channel$u];
//!end
        }
        // Parts the reads of this block from the writes of the next one.
        workgroupBarrier();
    }
    if row >= p.positions {
        return;
    }
//!for u in 0..4
    if block + own + ${u}u * 16u < p.channels {
        grad_q[query + channel$u] = sum$u;
    }
//!end
}
