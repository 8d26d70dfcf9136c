// Last stage of the gradient by a 3×3 weight by Winograd: from the ALPHA² points to the taps; `=`, not `+=`.
// d: ALPHA² × rows × columns, rows the input channels, columns the output channels (multiples of 4).
// grad_w[o·per_o + i·per_i + y·per_y + x·per_x] = scale·Σ G[a, y]·G[b, x]·d[a, b, i, o].
// A workgroup owns 64 (input channel, 4 output channels), an invocation one.
//!use conv2d/winograd_lines.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
    // Quads of output channels.
    columns: u32,
    per_o: u32,
    per_i: u32,
    per_y: u32,
    per_x: u32,
    scale: f32,
}

@group(0) @binding(0) var<storage, read> d: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> grad_w: array<f32>;
@group(0) @binding(2) var<uniform> p: Params;

fn put(at: u32, value: vec4<f32>) {
    let scaled = value * p.scale;
    grad_w[at] = scaled.x;
    grad_w[at + p.per_o] = scaled.y;
    grad_w[at + 2u * p.per_o] = scaled.z;
    grad_w[at + 3u * p.per_o] = scaled.w;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (group.x + p.origin.x) * 64u + lane;
    if at >= p.count {
        return;
    }
    let first = at / p.columns * p.per_i + at % p.columns * 4u * p.per_o;
//!for j in 0..ALPHA
    let column$j = gather_taps(Line(
//!for i in 0..ALPHA
        d[${i*ALPHA+j}u * p.count + at],
//!end
    ));
//!end
//!for i in 0..3
    {
        let line = gather_taps(Line(
//!for j in 0..ALPHA
            column$j.e$i,
//!end
        ));
//!for j in 0..3
        put(first + $i * p.per_y + $j * p.per_x, line.e$j);
//!end
    }
//!end
}
