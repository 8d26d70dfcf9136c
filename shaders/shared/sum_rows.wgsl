// y = Σ over rows of some columns of x, image by image.
// x: n rows stride, of which the columns from `offset` on count; y: n width, written `=`.
// The second stage of sums without atomics: the order depends on `rows` alone.
// A workgroup of 64 owns 8 neighbouring columns of one image; 8 invocations share a column, each every 8th row.
struct Params {
    origin: vec4<u32>,
    rows: u32,
    width: u32,
    stride: u32,
    offset: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> p: Params;

// Rows summed by one loop, since a loop may not exceed 65,535 turns on every driver.
const BLOCK = 65536u;

var<workgroup> parts: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let group = id + p.origin.xyz;
    let column = group.x * 8u + lane % 8u;
    var sum = 0.0;
    if column < p.width {
        let at = group.y * p.rows * p.stride + p.offset + column;
        for (var block = 0u; block < p.rows; block += BLOCK) {
            for (var row = block + lane / 8u; row < min(block + BLOCK, p.rows); row += 8u) {
                sum += x[at + row * p.stride];
            }
        }
    }
    parts[lane] = sum;
    // Parts the writes above from the reads below.
    workgroupBarrier();
    if lane < 8u && column < p.width {
        var total = parts[lane];
//!for i in 1..8
        total += parts[lane + $i * 8u];
//!end
        y[group.y * p.width + column] = total;
    }
}
