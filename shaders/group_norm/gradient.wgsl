// What flows to x through the statistics of a group: the rows of `gradient` that shared/norm_backward.wgsl adds.
// sums: n 2 c, Σg and Σg·(x - mean) of each channel. table: n 4 c (shared/norm_finish.wgsl). gradient: n 2 c, written `=`.
// With scale = r·weight, r = 1/sqrt(variance + eps): constant = -Σ scale·Σg/N, slope = -r²·Σ scale·Σg(x - mean)/N over the group's
// channels, N its elements. An invocation owns one group of one image, a workgroup 64.
struct Params {
    origin: vec4<u32>,
    channels: u32,
    groups: u32,
    // Channels of a group.
    size: u32,
    // Groups of all images.
    count: u32,
    // 1/N.
    share: f32,
}

@group(0) @binding(0) var<storage, read> sums: array<f32>;
@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read_write> gradient: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let own = (group.x + p.origin.x) * 64u + lane;
    if own >= p.count {
        return;
    }
    let image = own / p.groups;
    let first = own % p.groups * p.size;
    let entry = image * 4u * p.channels + first;
    let flows = image * 2u * p.channels + first;
    var constant = 0.0;
    var slope = 0.0;
    for (var j = 0u; j < p.size; j++) {
        let scale = table[entry + p.channels + j];
        constant += scale * sums[flows + j];
        slope += scale * sums[flows + p.channels + j];
    }
    let inverse = table[entry + 3u * p.channels];
    constant *= -p.share;
    slope *= -p.share * inverse * inverse;
    for (var j = 0u; j < p.size; j++) {
        gradient[flows + j] = constant;
        gradient[flows + p.channels + j] = slope;
    }
}
