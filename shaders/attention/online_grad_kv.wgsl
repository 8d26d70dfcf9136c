// grad_k (WANT_K) and grad_v (WANT_V) of attention, written with `=`; probabilities are computed again, block by block of queries.
// q, k, v, grad_y, grad_k, grad_v: n images of `positions` rows of `channels` elements E; lse, delta: one number a position.
// grad_v_j = Σ_i p_ij·grad_y_i; grad_k_j = scale·Σ_i p_ij·(grad_y_i·v_j − delta_i)·q_i (Dao et al. 2022, Algorithm 4).
// A workgroup owns 16 keys by 64 elements E of the gradients, an invocation one key by 4 E; each block of 16 queries is one score each.
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
//!if WANT_K
@group(0) @binding(6) var<storage, read_write> grad_k: array<E>;
//!end
//!if WANT_V
@group(0) @binding(6 + WANT_K) var<storage, read_write> grad_v: array<E>;
//!end
@group(0) @binding(6 + WANT_K + WANT_V) var<uniform> p: Params;

var<workgroup> weights: array<f32, 256>;
var<workgroup> grads: array<f32, 256>;

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
    let key = (image + min(row, p.positions - 1u)) * p.channels;
//!for u in 0..4
    let channel$u = min(block + own + ${u}u * 16u, p.channels - 1u);
    var by_k$u = E(0.0);
    var by_v$u = E(0.0);
//!end
    for (var first = 0u; first < p.positions; first += 16u) {
        let query = first + own;
        let position = image + min(query, p.positions - 1u);
        let line = position * p.channels;
        var score = E(0.0);
        var slope = E(0.0);
        for (var i = 0u; i < p.channels; i++) {
            score += q[line + i] * k[key + i];
            slope += grad_y[line + i] * v[key + i];
        }
        let weight = select(0.0, exp(p.scale * across(score) - lse[position]), query < p.positions);
        weights[lane] = weight;
        grads[lane] = p.scale * weight * (across(slope) - delta[position]);
        // Parts the writes of the weights and gradients by scores from their reads.
        workgroupBarrier();
        for (var j = 0u; j < 16u; j++) {
            let w = weights[lane - own + j];
            let g = grads[lane - own + j];
            let other = image + min(first + j, p.positions - 1u);
//!for u in 0..4
            by_k$u += g * q[other * p.channels + channel$u];
            by_v$u += w * grad_y[other * p.channels + channel$u];
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
//!if WANT_K
        grad_k[key + channel$u] = by_k$u;
//!end
//!if WANT_V
        grad_v[key + channel$u] = by_v$u;
//!end
    }
//!end
}
