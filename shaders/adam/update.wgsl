// One step of Adam on one segment, in place, and of its moving average where EMA (Kingma and Ba 2015; PyTorch's L2 weight decay).
// param, m, v, shadow, grad: `count` elements E; schedule: skip, clip coefficient, lr/(1 − β1^t), 1/√(1 − β2^t), 1 − EMA decay.
// g = coefficient·grad + decay·param; m = β1·m + (1 − β1)·g; v = β2·v + (1 − β2)·g²; param −= lr'·m/(√v·b + eps).
// A workgroup owns 256 elements E, an invocation one. A skipped step writes nothing.
//!use shared/element.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
    beta1: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    eps: f32,
    weight_decay: f32,
}

@group(0) @binding(0) var<storage, read_write> param: array<E>;
@group(0) @binding(1) var<storage, read_write> m: array<E>;
@group(0) @binding(2) var<storage, read_write> v: array<E>;
//!if EMA
@group(0) @binding(3) var<storage, read_write> shadow: array<E>;
@group(0) @binding(4) var<storage, read> grad: array<E>;
@group(0) @binding(5) var<storage, read> schedule: array<f32>;
@group(0) @binding(6) var<uniform> p: Params;
//!else
@group(0) @binding(3) var<storage, read> grad: array<E>;
@group(0) @binding(4) var<storage, read> schedule: array<f32>;
@group(0) @binding(5) var<uniform> p: Params;
//!end

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + p.origin.x) * 256u + lane;
    if i >= p.count || schedule[0] != 0.0 {
        return;
    }
    let before = param[i];
    let g = schedule[1] * grad[i] + p.weight_decay * before;
    // From the nearer end, so that what a small β1 forgets leaves no rounding behind, and what a large one keeps none either.
    let moved = g - m[i];
    let first = select(g - p.beta1 * moved, m[i] + p.rest1 * moved, p.rest1 < 0.5);
    let second = p.beta2 * v[i] + p.rest2 * g * g;
    let after = before - schedule[2] * first / (sqrt(second) * schedule[3] + p.eps);
    m[i] = first;
    v[i] = second;
    param[i] = after;
//!if EMA
    let average = shadow[i];
    shadow[i] = average - schedule[4] * (average - after);
//!end
}
