// counter += 1.
// counter: one u32.
// Ends a step: ops traced before it read the old value.
// One invocation.
struct Params {
    origin: vec4<u32>,
}

@group(0) @binding(0) var<storage, read_write> counter: array<u32>;
@group(0) @binding(1) var<uniform> p: Params;

@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3<u32>) {
    if group.x + p.origin.x == 0u {
        counter[0] += 1u;
    }
}
