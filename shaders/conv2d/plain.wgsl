// y = (w ⋆ cat(x, second) + bias + temb + residual)·scale, one output at a time: the baseline for every shape.
// x: n h w c1; second: n h w c2; w: c_out c_in kh kw by strides; bias: c_out; temb: n c_out; residual, y: n ho wo c_out.
// Cross-correlation, zeros outside. GRADIENT: x is grad_y, y is grad_x, and a tap counts where the stride divides.
// A workgroup owns 64 outputs, an invocation one.
struct Params {
    origin: vec4<u32>,
    outputs: u32,
    h: i32,
    w: i32,
    c1: u32,
    c2: u32,
    ho: u32,
    wo: u32,
    c_out: u32,
    kh: u32,
    kw: u32,
    stride: i32,
    dilation: i32,
    top: i32,
    left: i32,
    // Index of a weight: first + o·per_o + i·per_i + ky·per_y + kx·per_x.
    first: i32,
    per_o: i32,
    per_i: i32,
    per_y: i32,
    per_x: i32,
    scale: f32,
//!if TEMB
    // From image to image in temb, and where its columns begin.
    temb_line: u32,
    temb_first: u32,
//!end
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
//!if SECOND
@group(0) @binding(1) var<storage, read> second: array<f32>;
//!end
@group(0) @binding(1 + SECOND) var<storage, read> weight: array<f32>;
//!if BIAS
@group(0) @binding(2 + SECOND) var<storage, read> bias: array<f32>;
//!end
//!if TEMB
@group(0) @binding(2 + SECOND + BIAS) var<storage, read> temb: array<f32>;
//!end
//!if RESIDUAL
@group(0) @binding(2 + SECOND + BIAS + TEMB) var<storage, read> residual: array<f32>;
//!end
@group(0) @binding(2 + SECOND + BIAS + TEMB + RESIDUAL) var<storage, read_write> y: array<f32>;
@group(0) @binding(3 + SECOND + BIAS + TEMB + RESIDUAL) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (group.x + p.origin.x) * 64u + lane;
    if at >= p.outputs {
        return;
    }
    let o = at % p.c_out;
    let pixel = at / p.c_out;
    let ox = i32(pixel % p.wo);
    let oy = i32((pixel / p.wo) % p.ho);
    let n = i32(pixel / (p.wo * p.ho));
    var sum = 0.0;
    for (var ky = 0u; ky < p.kh; ky++) {
        for (var kx = 0u; kx < p.kw; kx++) {
//!if GRADIENT
            // The output pixel that met this input pixel at this tap.
            let dy = oy + p.top - i32(ky) * p.dilation;
            let dx = ox + p.left - i32(kx) * p.dilation;
            if dy < 0 || dx < 0 || dy % p.stride != 0 || dx % p.stride != 0 {
                continue;
            }
            let iy = dy / p.stride;
            let ix = dx / p.stride;
//!else
            let iy = oy * p.stride + i32(ky) * p.dilation - p.top;
            let ix = ox * p.stride + i32(kx) * p.dilation - p.left;
//!end
            if iy < 0 || iy >= p.h || ix < 0 || ix >= p.w {
                continue;
            }
            let place = u32((n * p.h + iy) * p.w + ix);
            let tap = p.first + i32(o) * p.per_o + i32(ky) * p.per_y + i32(kx) * p.per_x;
            for (var i = 0u; i < p.c1; i++) {
                sum += x[place * p.c1 + i] * weight[tap + i32(i) * p.per_i];
            }
//!if SECOND
            for (var i = 0u; i < p.c2; i++) {
                sum += second[place * p.c2 + i] * weight[tap + i32(p.c1 + i) * p.per_i];
            }
//!end
        }
    }
//!if BIAS
    sum += bias[o];
//!end
//!if TEMB
    sum += temb[u32(n) * p.temb_line + p.temb_first + o];
//!end
//!if RESIDUAL
    sum += residual[at];
//!end
    y[at] = sum * p.scale;
}
