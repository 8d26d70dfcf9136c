// y = (w ⋆ cat(x, second) + bias + temb + residual)·scale with PX pixels × 4·OC channels in registers; no workgroup memory.
// x: n H W C1; second: n H W C2; packed: tap × c_in × c_out rounded up (pack.wgsl); bias: c_out; temb: n c_out; residual, y: n HO WO CO.
// Cross-correlation, zeros outside; the sum runs over rows of taps, channels, columns of taps.
// A workgroup owns 64 blocks, an invocation one: PX neighbours in a row of y, 4·OC channels.
struct Params {
    origin: vec4<u32>,
    blocks: u32,
    scale: f32,
//!if TEMB
    // From image to image in temb, and where its columns begin.
    temb_line: u32,
    temb_first: u32,
//!end
}

const COLUMNS4: u32 = (CO + 4u * OC - 1u) / (4u * OC) * OC;
const CHANNEL_BLOCKS: u32 = COLUMNS4 / OC;
const ROW_BLOCKS: u32 = (WO + PX - 1u) / PX;
const ROWS: u32 = (C1 + 3u) / 4u * 4u + (C2 + 3u) / 4u * 4u;

//!if C1_EVEN
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
fn load0(pixel: u32, q: u32) -> vec4<f32> {
    return x[pixel * (C1 / 4u) + q];
}
//!else
@group(0) @binding(0) var<storage, read> x: array<f32>;
fn load0(pixel: u32, q: u32) -> vec4<f32> {
    let at = pixel * C1 + q * 4u;
    let held = C1 - q * 4u;
    var v = vec4<f32>(x[at], 0.0, 0.0, 0.0);
    if held > 1u { v.y = x[at + 1u]; }
    if held > 2u { v.z = x[at + 2u]; }
    if held > 3u { v.w = x[at + 3u]; }
    return v;
}
//!end
//!if SECOND
//!if C2_EVEN
@group(0) @binding(1) var<storage, read> second: array<vec4<f32>>;
fn load1(pixel: u32, q: u32) -> vec4<f32> {
    return second[pixel * (C2 / 4u) + q];
}
//!else
@group(0) @binding(1) var<storage, read> second: array<f32>;
fn load1(pixel: u32, q: u32) -> vec4<f32> {
    let at = pixel * C2 + q * 4u;
    let held = C2 - q * 4u;
    var v = vec4<f32>(second[at], 0.0, 0.0, 0.0);
    if held > 1u { v.y = second[at + 1u]; }
    if held > 2u { v.z = second[at + 2u]; }
    if held > 3u { v.w = second[at + 3u]; }
    return v;
}
//!end
//!end
@group(0) @binding(1 + SECOND) var<storage, read> packed: array<vec4<f32>>;
//!if CO_EVEN
alias Y = vec4<f32>;
//!else
alias Y = f32;
//!end
//!if BIAS
@group(0) @binding(2 + SECOND) var<storage, read> bias: array<Y>;
//!end
//!if TEMB
@group(0) @binding(2 + SECOND + BIAS) var<storage, read> temb: array<Y>;
//!end
//!if RESIDUAL
@group(0) @binding(2 + SECOND + BIAS + TEMB) var<storage, read> residual: array<Y>;
//!end
@group(0) @binding(2 + SECOND + BIAS + TEMB + RESIDUAL) var<storage, read_write> y: array<Y>;
@group(0) @binding(3 + SECOND + BIAS + TEMB + RESIDUAL) var<uniform> p: Params;

// Writes one element of y (Y wide) at `place` (pixel), `channel` (in units of Y).
fn put(n: u32, place: u32, channel: u32, sum: Y) {
    var v = sum;
//!if CO_EVEN
    let width = CO / 4u;
//!else
    let width = CO;
//!end
//!if BIAS
    v += bias[channel];
//!end
//!if TEMB
    v += temb[n * p.temb_line + p.temb_first + channel];
//!end
    let at = place * width + channel;
//!if RESIDUAL
    v += residual[at];
//!end
    y[at] = v * p.scale;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (group.x + p.origin.x) * 64u + lane;
    if at >= p.blocks {
        return;
    }
    // Neighbouring invocations take neighbouring channels: they share pixels and read weights side by side.
    let block = at % CHANNEL_BLOCKS;
    let row = at / CHANNEL_BLOCKS;
    let ox = (row % ROW_BLOCKS) * PX;
    let oy = (row / ROW_BLOCKS) % HO;
    let n = row / (ROW_BLOCKS * HO);
    let column = block * OC;
    let ix = i32(ox * STRIDE) - LEFT;
//!for j in 0..PX
//!for o in 0..OC
    var sum${j}_$o = vec4<f32>(0.0);
//!end
//!end
    // Which of the COLS columns under the block lie inside the image.
//!for j in 0..COLS
    let inside$j = ix + $j >= 0 && ix + $j < i32(W);
    let column$j = u32(clamp(ix + $j, 0, i32(W) - 1));
//!end
    for (var ky = 0u; ky < KH; ky++) {
        let iy = i32(oy * STRIDE + ky * DILATION) - TOP;
        if iy < 0 || iy >= i32(H) {
            continue;
        }
        let line = (n * H + u32(iy)) * W;
        let taps = ky * KW * ROWS;
//!for s in 0..SOURCES
//!if FXC
        // FXC walks through loops whose length it knows, for seconds. origin.w is 0.
        for (var q = 0u; q < Q$s + p.origin.w; q++) {
//!else
        for (var q = 0u; q < Q$s; q++) {
//!end
//!for j in 0..COLS
            let v$j = select(vec4<f32>(0.0), load$s(line + column$j, q), inside$j);
//!end
            let channel = taps + ROWS_BEFORE$s + q * 4u;
//!for k in 0..KW
            {
                let w = (channel + $k * ROWS) * COLUMNS4 + column;
//!for i in 0..4
//!for o in 0..OC
                let w${i}_$o = packed[w + $i * COLUMNS4 + $o];
//!end
//!end
//!for j in 0..PX
//!for o in 0..OC
                sum${j}_$o += v${j*STRIDE+k*DILATION}.x * w0_$o;
                sum${j}_$o += v${j*STRIDE+k*DILATION}.y * w1_$o;
                sum${j}_$o += v${j*STRIDE+k*DILATION}.z * w2_$o;
                sum${j}_$o += v${j*STRIDE+k*DILATION}.w * w3_$o;
//!end
//!end
            }
//!end
        }
//!end
    }
    let place = (n * HO + oy) * WO + ox;
//!for j in 0..PX
    if ox + $j < WO {
//!for o in 0..OC
//!if CO_EVEN
        if (column + $o) * 4u < CO {
            put(n, place + $j, column + $o, sum${j}_$o);
        }
//!else
        {
            let channel = (column + $o) * 4u;
            if channel < CO { put(n, place + $j, channel, sum${j}_$o.x); }
            if channel + 1u < CO { put(n, place + $j, channel + 1u, sum${j}_$o.y); }
            if channel + 2u < CO { put(n, place + $j, channel + 2u, sum${j}_$o.z); }
            if channel + 3u < CO { put(n, place + $j, channel + 3u, sum${j}_$o.w); }
        }
//!end
//!end
    }
//!end
}
