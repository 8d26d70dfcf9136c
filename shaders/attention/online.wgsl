// y = softmax(scale·q·kᵀ)·v for each image in one pass over the keys, scores never stored; lse for the gradient.
// q, k, v, y: n images of `positions` rows of `channels` elements E; lse: one number a position.
// Running maximum m, sum l and y: on a block of keys all are scaled by exp(m_old − m_new) (Dao et al. 2022, FlashAttention, Algorithm 1).
// A workgroup owns 16 queries by 64 elements E of y, an invocation one query by 4 E; each block of 16 keys is one score each.
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
@group(0) @binding(3) var<storage, read_write> y: array<E>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;
@group(0) @binding(5) var<uniform> p: Params;

var<workgroup> tile: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let image = (group.z + p.origin.z) * p.positions;
    let row = (group.x + p.origin.x) * 16u + lane / 16u;
    let own = lane % 16u;
    let block = (group.y + p.origin.y) * 64u;
    let query = (image + min(row, p.positions - 1u)) * p.channels;
//!for u in 0..4
    let channel$u = min(block + own + ${u}u * 16u, p.channels - 1u);
    var sum$u = E(0.0);
//!end
    var top = -3e38;
    var total = 0.0;
    for (var first = 0u; first < p.positions; first += 16u) {
        let key = first + own;
        let line = (image + min(key, p.positions - 1u)) * p.channels;
        var product = E(0.0);
        for (var i = 0u; i < p.channels; i++) {
            product += q[query + i] * k[line + i];
        }
//!if V == 4
        let score = p.scale * ((product.x + product.y) + (product.z + product.w));
//!else
        let score = p.scale * product;
//!end
        tile[lane] = select(-3e38, score, key < p.positions);
        // Parts the writes of the scores from the reads of a row's maximum.
        workgroupBarrier();
        var largest = top;
        for (var j = 0u; j < 16u; j++) {
            largest = max(largest, tile[lane - own + j]);
        }
        let factor = exp(top - largest);
        let weight = select(0.0, exp(score - largest), key < p.positions);
        top = largest;
        total *= factor;
//!for u in 0..4
        sum$u *= factor;
//!end
        // Parts the reads of the scores from the writes of the weights.
        workgroupBarrier();
        tile[lane] = weight;
        // Parts the writes of the weights from their reads.
        workgroupBarrier();
        for (var j = 0u; j < 16u; j++) {
            let w = tile[lane - own + j];
            let value = (image + min(first + j, p.positions - 1u)) * p.channels;
            total += w;
//!for u in 0..4
            sum$u += w * v[value + channel$u];
//!end
        }
        // Parts the reads of the weights from the writes of the next block's scores.
        workgroupBarrier();
    }
    if row >= p.positions {
        return;
    }
//!for u in 0..4
    if block + own + ${u}u * 16u < p.channels {
        y[(image + row) * p.channels + channel$u] = sum$u / total;
    }
//!end
    if block == 0u && own == 0u {
        lse[image + row] = top + log(total);
    }
}
