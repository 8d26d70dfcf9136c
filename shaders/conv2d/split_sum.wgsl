// y = (Σ parts + bias + temb + residual)·scale: the second stage of a sum that was split over its terms.
// part: parts × rows × n of pixels from `first` on; bias: n; temb: images × n; residual, y: pixels × n; n multiples of 4.
// Parts are added in their order, so that nothing depends on which was done first.
// A workgroup owns 64 (pixel, 4 channels), an invocation one.
struct Params {
    origin: vec4<u32>,
    count: u32,
    parts: u32,
    first: u32,
    // All pixels, quads of channels, pixels of an image.
    m: u32,
    n: u32,
    image: u32,
    scale: f32,
//!if TEMB
    // From image to image in temb, and where its columns begin.
    temb_line: u32,
    temb_first: u32,
//!end
}

@group(0) @binding(0) var<storage, read> part: array<vec4<f32>>;
const BEFORE: u32 = 1u;
//!use conv2d/gemm_epilogue.wgsl

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (group.x + p.origin.x) * 64u + lane;
    if at >= p.count {
        return;
    }
    var sum = part[at];
    for (var z = 1u; z < p.parts; z++) {
        sum += part[z * p.count + at];
    }
    put(0u, p.first + at / p.n, at % p.n, sum);
}
