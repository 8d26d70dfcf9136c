// shadow -= (1 − decay)·(shadow − x), in place.
// shadow, x: `count` elements E; updates: a counter whose first word is n, from 1.
// decay = min(rate, (1 + n)/(10 + n)) where WARM, else rate (the authors' ExponentialMovingAverage); `rest` is 1 − rate.
// A workgroup owns 256 elements E, an invocation one.
//!use shared/element.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
    rest: f32,
}

@group(0) @binding(0) var<storage, read_write> shadow: array<E>;
@group(0) @binding(1) var<storage, read> x: array<E>;
//!if WARM
@group(0) @binding(2) var<storage, read> updates: array<u32>;
@group(0) @binding(3) var<uniform> p: Params;
//!else
@group(0) @binding(2) var<uniform> p: Params;
//!end

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + p.origin.x) * 256u + lane;
    if i >= p.count {
        return;
    }
//!if WARM
    let rest = max(p.rest, 9.0 / (10.0 + f32(updates[0])));
//!else
    let rest = p.rest;
//!end
    let before = shadow[i];
    shadow[i] = before - rest * (before - x[i]);
}
