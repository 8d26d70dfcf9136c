// y = random numbers: KIND 0 uniform in (0, 1), 1 standard normal, 2 signs.
// seed: 2 words, or 2 for each image; images: n global numbers; step: a counter, its first word; y: n images of `size` floats.
// Element 4b + j of an image is output j of Philox4x32-10 on the counter (b, image, step, purpose) under the seed as key.
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
}

@group(0) @binding(0) var<storage, read> seed: array<u32>;
@group(0) @binding(1) var<storage, read> images: array<u32>;
@group(0) @binding(2) var<storage, read> step: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<E>;
@group(0) @binding(4) var<uniform> p: Params;

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
//!if KIND == 0
    let values = to_uniform(words);
//!end
//!if KIND == 1
    let values = to_normal(words);
//!end
//!if KIND == 2
    let values = to_sign(words);
//!end
//!if V == 4
    y[at] = values;
//!else
    let first = image * p.size + 4u * block;
//!for j in 0..4
    if 4u * block + $j < p.size {
        y[first + $j] = values[$j];
    }
//!end
//!end
}
