// y = Σ k_i·x_i·s_i[image] over TERMS tensors of one shape; also gradients by x, written with `=`.
// x_i, y: n images of `size` elements E; s_i: n.
// y[image, e] = Σ_i k_i·s_i[image]·x_i[image, e].
// A workgroup owns 256 elements E, an invocation one.
//!use shared/element.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
    size: u32,
//!for i in 0..TERMS
    k$i: f32,
//!end
}

//!for i in 0..TERMS
@group(0) @binding(2 * $i) var<storage, read> x$i: array<E>;
@group(0) @binding(2 * $i + 1) var<storage, read> s$i: array<f32>;
//!end
@group(0) @binding(2 * TERMS) var<storage, read_write> y: array<E>;
@group(0) @binding(2 * TERMS + 1) var<uniform> p: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + p.origin.x) * 256u + lane;
    if i >= p.count {
        return;
    }
    let image = i / p.size;
    var sum = p.k0 * s0[image] * x0[i];
//!for i in 1..TERMS
    sum += p.k$i * s$i[image] * x$i[i];
//!end
    y[i] = sum;
}
