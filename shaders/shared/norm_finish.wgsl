// Statistics of each image and group of channels from the moments of rows, spread over the group's channels.
// moments: n all_rows 2 c as shared/norm_moments.wgsl leaves them; weight, bias: c, with AFFINE. table: n 4 c, whose rows are mean,
// scale, offset and 1/sqrt(variance + eps): the norm is (x - mean)·scale + offset. variance = Σ(x - mean)²/(count - unbiased).
// A workgroup of 64 owns a group of `size` channels of one image, an invocation every 64th row. ALONE: an invocation owns all rows.
struct Params {
    origin: vec4<u32>,
    pixels: u32,
    channels: u32,
    workgroup_rows: u32,
    turns: u32,
    all_rows: u32,
    // Channels of a group.
    size: u32,
    // 1 for the unbiased variance, else 0.
    unbiased: u32,
    eps: f32,
    // Of channels, of an image.
    groups: u32,
    images: u32,
}

@group(0) @binding(0) var<storage, read> moments: array<f32>;
//!if AFFINE
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> table: array<f32>;
@group(0) @binding(4) var<uniform> p: Params;
//!else
@group(0) @binding(1) var<storage, read_write> table: array<f32>;
@group(0) @binding(2) var<uniform> p: Params;
//!end
//!if ALONE
const STEP = 1u;
fn sum_rows(value: f32, lane: u32) -> f32 {
    return value;
}
//!else
const STEP = 64u;
//!use shared/sum64.wgsl
fn sum_rows(value: f32, lane: u32) -> f32 {
    return sum64(value, lane);
}
//!end

// Pixels that a row of shared/norm_moments.wgsl covers.
fn pixels_of(row: u32) -> f32 {
    let chunk = p.workgroup_rows * p.turns;
    let first = row / p.workgroup_rows * chunk;
    let own = first + row % p.workgroup_rows;
    let end = min(first + chunk, p.pixels);
    return f32(select(0u, (end - min(own, end) + p.workgroup_rows - 1u) / p.workgroup_rows, own < end));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) index: u32) {
//!if ALONE
    let at = (id.x + p.origin.x) * 64u + index;
    if at >= p.groups * p.images {
        return;
    }
    let group = vec2<u32>(at % p.groups, at / p.groups);
    let lane = 0u;
//!else
    let group = id.xy + p.origin.xy;
    let lane = index;
//!end
    let first_channel = group.x * p.size;
    let base = group.y * p.all_rows * 2u * p.channels + first_channel;
    // Row 0 has a pixel always.
    let shift = moments[base];
    var sum = 0.0;
    for (var row = lane; row < p.all_rows; row += STEP) {
        let count = pixels_of(row);
        let at = base + row * 2u * p.channels;
        for (var j = 0u; j < p.size; j++) {
            sum += count * (moments[at + j] - shift);
        }
    }
    let count = f32(p.pixels) * f32(p.size);
    let moved = sum_rows(sum, lane) / count;
    var deviations = 0.0;
    for (var row = lane; row < p.all_rows; row += STEP) {
        let count = pixels_of(row);
        let at = base + row * 2u * p.channels;
        for (var j = 0u; j < p.size; j++) {
            let d = moments[at + j] - shift - moved;
            deviations += select(0.0, moments[at + p.channels + j] + count * d * d, count > 0.0);
        }
    }
    let variance = sum_rows(deviations, lane) / (count - f32(p.unbiased));
    let mean = shift + moved;
    let inverse = 1.0 / sqrt(variance + p.eps);
    for (var j = lane; j < p.size; j += STEP) {
        let channel = first_channel + j;
        let out = group.y * 4u * p.channels + channel;
        table[out] = mean;
//!if AFFINE
        table[out + p.channels] = inverse * weight[channel];
        table[out + 2u * p.channels] = bias[channel];
//!else
        table[out + p.channels] = inverse;
        table[out + 2u * p.channels] = 0.0;
//!end
        table[out + 3u * p.channels] = inverse;
    }
}
