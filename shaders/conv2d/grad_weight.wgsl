// Partial sums of the gradient by the weight over a chunk of rows of one image: `=`, not `+=`.
// x: n H W C; grad_y: n HO WO CO; part: chunk × kh·kw × C rounded to 4 × CO rounded to 4·OC.
// part[chunk, ky, kx, i, o] = Σ_{rows of the chunk} x[n, oy·S + ky·D − TOP, ox·S + kx·D − LEFT, i]·grad_y[n, oy, ox, o].
// A workgroup owns 64 tiles, an invocation one: a row of KW taps × 4 input channels × 4·OC output channels, in registers.
struct Params {
    origin: vec4<u32>,
    tiles: u32,
    // Chunks of an image, and rows of grad_y in each.
    chunks: u32,
    rows: u32,
}

const COLUMNS4: u32 = (CO + 4u * OC - 1u) / (4u * OC) * OC;
const OUT_BLOCKS: u32 = COLUMNS4 / OC;
const IN_BLOCKS: u32 = (C + 3u) / 4u;

//!if C_EVEN
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
fn load_x(pixel: u32, q: u32) -> vec4<f32> {
    return x[pixel * (C / 4u) + q];
}
//!else
@group(0) @binding(0) var<storage, read> x: array<f32>;
fn load_x(pixel: u32, q: u32) -> vec4<f32> {
    let at = pixel * C + q * 4u;
    let held = C - q * 4u;
    var v = vec4<f32>(x[at], 0.0, 0.0, 0.0);
    if held > 1u { v.y = x[at + 1u]; }
    if held > 2u { v.z = x[at + 2u]; }
    if held > 3u { v.w = x[at + 3u]; }
    return v;
}
//!end
//!if CO_EVEN
@group(0) @binding(1) var<storage, read> grad_y: array<vec4<f32>>;
fn load_y(pixel: u32, q: u32) -> vec4<f32> {
    return select(vec4<f32>(0.0), grad_y[pixel * (CO / 4u) + min(q, CO / 4u - 1u)], q < CO / 4u);
}
//!else
@group(0) @binding(1) var<storage, read> grad_y: array<f32>;
fn load_y(pixel: u32, q: u32) -> vec4<f32> {
    let first = q * 4u;
    if first >= CO {
        return vec4<f32>(0.0);
    }
    let at = pixel * CO + first;
    let held = CO - first;
    var v = vec4<f32>(grad_y[at], 0.0, 0.0, 0.0);
    if held > 1u { v.y = grad_y[at + 1u]; }
    if held > 2u { v.z = grad_y[at + 2u]; }
    if held > 3u { v.w = grad_y[at + 3u]; }
    return v;
}
//!end
@group(0) @binding(2) var<storage, read_write> part: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (group.x + p.origin.x) * 64u + lane;
    if at >= p.tiles {
        return;
    }
    let out = (at % OUT_BLOCKS) * OC;
    let q = (at / OUT_BLOCKS) % IN_BLOCKS;
    let ky = (at / (OUT_BLOCKS * IN_BLOCKS)) % KH;
    let chunk = at / (OUT_BLOCKS * IN_BLOCKS * KH);
    let n = chunk / p.chunks;
    let first_row = (chunk % p.chunks) * p.rows;
    let last_row = min(first_row + p.rows, HO);
//!for k in 0..KW
//!for i in 0..4
//!for o in 0..OC
    var sum${k}_${i}_$o = vec4<f32>(0.0);
//!end
//!end
//!end
    for (var oy = first_row; oy < last_row; oy++) {
        let iy = i32(oy * STRIDE + ky * DILATION) - TOP;
        if iy < 0 || iy >= i32(H) {
            continue;
        }
        let line = (n * H + u32(iy)) * W;
        let place = (n * HO + oy) * WO;
        for (var ox = 0u; ox < WO; ox += PX) {
            let ix = i32(ox * STRIDE) - LEFT;
//!for j in 0..COLS
            let v$j = select(
                vec4<f32>(0.0),
                load_x(line + u32(clamp(ix + $j, 0, i32(W) - 1)), q),
                ix + $j >= 0 && ix + $j < i32(W),
            );
//!end
//!for j in 0..PX
            if ox + $j < WO {
//!for o in 0..OC
                let g$o = load_y(place + ox + $j, out + $o);
//!end
//!for k in 0..KW
//!for o in 0..OC
                sum${k}_0_$o += v${j*STRIDE+k*DILATION}.x * g$o;
                sum${k}_1_$o += v${j*STRIDE+k*DILATION}.y * g$o;
                sum${k}_2_$o += v${j*STRIDE+k*DILATION}.z * g$o;
                sum${k}_3_$o += v${j*STRIDE+k*DILATION}.w * g$o;
//!end
//!end
            }
//!end
        }
    }
//!for k in 0..KW
    {
        let tap = (chunk * KH + ky) * KW + $k;
        let first = (tap * IN_BLOCKS + q) * 4u * COLUMNS4 + out;
//!for i in 0..4
//!for o in 0..OC
        part[first + $i * COLUMNS4 + $o] = sum${k}_${i}_$o;
//!end
//!end
    }
//!end
}
