// mean = x + step·score, y = mean + √(2 step)·z, one step size for each image.
// x, score, z, y, mean: `count` elements E, `per_image` each; step: n.
// The update of the Langevin corrector (Algorithms 4 and 5 of Song et al. 2021).
// A workgroup owns 256 elements, an invocation one.
//!use shared/element.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
    per_image: u32,
}

@group(0) @binding(0) var<storage, read> x: array<E>;
@group(0) @binding(1) var<storage, read> score: array<E>;
@group(0) @binding(2) var<storage, read> z: array<E>;
@group(0) @binding(3) var<storage, read> step: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<E>;
@group(0) @binding(5) var<storage, read_write> mean: array<E>;
@group(0) @binding(6) var<uniform> p: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + p.origin.x) * 256u + lane;
    if i >= p.count {
        return;
    }
    let size = step[i / p.per_image];
    let m = x[i] + size * score[i];
    mean[i] = m;
    y[i] = m + sqrt(2.0 * size) * z[i];
}
