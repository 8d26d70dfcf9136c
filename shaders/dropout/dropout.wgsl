// y = x·mask·scale, the mask drawn anew; also its own gradient, written with `=`.
// x, y: n images of `size` floats; seed, images, step as in philox.wgsl. IN_PLACE: y holds x at first.
// Element 4b + j stays where output j of Philox4x32-10 on (b, image, step, purpose) is at least `threshold` (Srivastava et al. 2014).
// A workgroup owns 256 blocks of four elements, an invocation one.
//!use shared/element.wgsl
//!use shared/philox.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
    size: u32,
    blocks: u32,
    seed_stride: u32,
    purpose: u32,
    threshold: u32,
    scale: f32,
}

@group(0) @binding(0) var<storage, read> seed: array<u32>;
@group(0) @binding(1) var<storage, read> images: array<u32>;
@group(0) @binding(2) var<storage, read> step: array<u32>;
//!if IN_PLACE
@group(0) @binding(3) var<storage, read_write> y: array<E>;
@group(0) @binding(4) var<uniform> p: Params;
//!else
@group(0) @binding(3) var<storage, read> x: array<E>;
@group(0) @binding(4) var<storage, read_write> y: array<E>;
@group(0) @binding(5) var<uniform> p: Params;
//!end

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (group.x + p.origin.x) * 256u + lane;
    if at >= p.count {
        return;
    }
    let image = at / p.blocks;
    let block = at % p.blocks;
    let key = vec2<u32>(seed[image * p.seed_stride], seed[image * p.seed_stride + 1u]);
    let words = philox(vec4<u32>(block, images[image], step[0], p.purpose), key);
    let keep = words >= vec4<u32>(p.threshold);
//!if V == 4
//!if IN_PLACE
    y[at] = select(vec4<f32>(0.0), p.scale * y[at], keep);
//!else
    y[at] = select(vec4<f32>(0.0), p.scale * x[at], keep);
//!end
//!else
    let first = image * p.size + 4u * block;
//!for j in 0..4
    if 4u * block + $j < p.size {
//!if IN_PLACE
        y[first + $j] = select(0.0, p.scale * y[first + $j], keep[$j]);
//!else
        y[first + $j] = select(0.0, p.scale * x[first + $j], keep[$j]);
//!end
    }
//!end
//!end
}
