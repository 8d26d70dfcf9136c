// y = stack[min(counter·stride + first, rows − 1)].
// stack: rows × count E; counter: one u32; y: count E.
// A counter past the last tensor stays on it, so that no replay reads outside.
// A workgroup owns 256 elements, an invocation one.
//!use shared/element.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
    rows: u32,
    stride: u32,
    first: u32,
}

@group(0) @binding(0) var<storage, read> stack: array<E>;
@group(0) @binding(1) var<storage, read> counter: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<E>;
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + p.origin.x) * 256u + lane;
    if i >= p.count {
        return;
    }
    let row = min(counter[0] * p.stride + p.first, p.rows - 1u);
    y[i] = stack[row * p.count + i];
}
