// Second stage of the gradient by the weight: sums the chunks and scales; `=`, not `+=`.
// part: chunk × tap × rows × columns (grad_weight.wgsl); grad_w: the weight's own layout by strides.
// grad_w[first + o·per_o + i·per_i + ky·per_y + kx·per_x] = scale·Σ_chunk part[chunk, ky, kx, i, o], chunks in order.
// A workgroup owns 64 weights, an invocation one.
struct Params {
    origin: vec4<u32>,
    count: u32,
    chunks: u32,
    taps: u32,
    kw: u32,
    rows: u32,
    columns: u32,
    c_in: u32,
    c_out: u32,
    first: u32,
    per_o: u32,
    per_i: u32,
    per_y: u32,
    per_x: u32,
    scale: f32,
}

@group(0) @binding(0) var<storage, read> part: array<f32>;
@group(0) @binding(1) var<storage, read_write> grad_w: array<f32>;
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (group.x + p.origin.x) * 64u + lane;
    if at >= p.count {
        return;
    }
    let o = at % p.c_out;
    let i = (at / p.c_out) % p.c_in;
    let tap = at / (p.c_out * p.c_in);
    let stride = p.taps * p.rows * p.columns;
    var at_part = (tap * p.rows + i) * p.columns + o;
    var sum = 0.0;
    for (var chunk = 0u; chunk < p.chunks; chunk++) {
        sum += part[at_part];
        at_part += stride;
    }
    grad_w[p.first + o * p.per_o + i * p.per_i + (tap / p.kw) * p.per_y + (tap % p.kw) * p.per_x] = sum * p.scale;
}
