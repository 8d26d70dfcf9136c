// Last stage of Winograd F(TILE×TILE, 3×3): products at the ALPHA² points to pixels, with what follows the sum.
// m: ALPHA² × tiles × c_out; bias: c_out; temb: n c_out; residual, y: n h w c_out, all multiples of 4 channels.
// y[n, ty·TILE + y, tx·TILE + x, o] = (Σ A[a, y]·A[b, x]·m[a, b, t, o] + bias + temb + residual)·scale.
// A workgroup owns 64 (tile, 4 channels), an invocation one.
//!use conv2d/winograd_lines.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
    // The first tile of the launch, and how many there are.
    first: u32,
    tiles: u32,
    // Quads of channels.
    c: u32,
    h: u32,
    w: u32,
    tiles_y: u32,
    tiles_x: u32,
    scale: f32,
//!if TEMB
    // From image to image in temb, and where its columns begin.
    temb_line: u32,
    temb_first: u32,
//!end
}

@group(0) @binding(0) var<storage, read> m: array<vec4<f32>>;
//!if BIAS
@group(0) @binding(1) var<storage, read> bias: array<vec4<f32>>;
//!end
//!if TEMB
@group(0) @binding(1 + BIAS) var<storage, read> temb: array<vec4<f32>>;
//!end
//!if RESIDUAL
@group(0) @binding(1 + BIAS + TEMB) var<storage, read> residual: array<vec4<f32>>;
//!end
@group(0) @binding(1 + BIAS + TEMB + RESIDUAL) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(2 + BIAS + TEMB + RESIDUAL) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (group.x + p.origin.x) * 64u + lane;
    if at >= p.count {
        return;
    }
    let q = at % p.c;
    let local = at / p.c;
    let tile = p.first + local;
    let n = tile / (p.tiles_x * p.tiles_y);
    let oy = (tile / p.tiles_x) % p.tiles_y * TILE;
    let ox = tile % p.tiles_x * TILE;
    let plane = p.tiles * p.c;
    var behind = vec4<f32>(0.0);
//!if BIAS
    behind += bias[q];
//!end
//!if TEMB
    behind += temb[n * p.temb_line + p.temb_first + q];
//!end
//!for j in 0..ALPHA
    let column$j = gather_output(Line(
//!for i in 0..ALPHA
        m[${i*ALPHA+j}u * plane + at],
//!end
    ));
//!end
//!for i in 0..TILE
    if oy + $i < p.h {
        let line = gather_output(Line(
//!for j in 0..ALPHA
            column$j.e$i,
//!end
        ));
        let place = ((n * p.h + oy + $i) * p.w + ox) * p.c + q;
//!for j in 0..TILE
        if ox + $j < p.w {
            let value = line.e$j + behind;
//!if RESIDUAL
            y[place + $j * p.c] = (value + residual[place + $j * p.c]) * p.scale;
//!else
            y[place + $j * p.c] = value * p.scale;
//!end
        }
//!end
    }
//!end
}
