// y = every DOWN-th pixel of the convolution of `taps` with x, zero-stuffed by UP and padded (StyleGAN2's upfirdn2d).
// x: n `h` `w` c, y: n `out_h` `out_w` c, both `channels` elements E deep; taps: KH KW, turned by 180 degrees, rows of VECTORS vec4.
// y[UP·b + p] = Σ_i taps[UP·i + LEAD − DOWN·p]·x[DOWN·b + FIRST + i] along each axis: zeros between pixels are never touched.
// A workgroup owns 256 blocks of UP x UP outputs, an invocation one block of E.
//!use shared/element.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
    h: u32,
    w: u32,
    out_h: u32,
    out_w: u32,
    channels: u32,
    blocks_h: u32,
    blocks_w: u32,
    taps: array<vec4<f32>, KH * VECTORS>,
}

@group(0) @binding(0) var<storage, read> x: array<E>;
@group(0) @binding(1) var<storage, read_write> y: array<E>;
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (group.x + p.origin.x) * 256u + lane;
    if at >= p.count {
        return;
    }
    let channel = at % p.channels;
    let column_of = at / p.channels;
    let bx = column_of % p.blocks_w;
    let row_of = column_of / p.blocks_w;
    let by = row_of % p.blocks_h;
    let image = row_of / p.blocks_h;
    let y0 = i32(by * DOWN) + FIRST_Y;
    let x0 = i32(bx * DOWN) + FIRST_X;
//!for r in 0..UP
//!for s in 0..UP
    var sum${r}_$s = E(0.0);
//!end
//!end
//!for i in 0..ROWS
    if y0 + $i >= 0 && y0 + $i < i32(p.h) {
        let row = (image * p.h + u32(y0 + $i)) * p.w;
//!for j in 0..COLUMNS
        if x0 + $j >= 0 && x0 + $j < i32(p.w) {
            let value = x[(row + u32(x0 + $j)) * p.channels + channel];
//!for r in 0..UP
//!if $i * UP + LEAD_Y - $r * DOWN > 0 - 1
//!if $i * UP + LEAD_Y - $r * DOWN < KH
//!for t in $i * UP + LEAD_Y - $r * DOWN..$i * UP + LEAD_Y - $r * DOWN + 1
//!for s in 0..UP
//!if $j * UP + LEAD_X - $s * DOWN > 0 - 1
//!if $j * UP + LEAD_X - $s * DOWN < KW
//!for u in $j * UP + LEAD_X - $s * DOWN..$j * UP + LEAD_X - $s * DOWN + 1
            sum${r}_$s += p.taps[${t}u * VECTORS + $u / 4][$u % 4] * value;
//!end
//!end
//!end
//!end
//!end
//!end
//!end
//!end
        }
//!end
    }
//!end
//!for r in 0..UP
//!for s in 0..UP
    if by * UP + $r < p.out_h && bx * UP + $s < p.out_w {
        y[((image * p.out_h + by * UP + $r) * p.out_w + bx * UP + $s) * p.channels + channel] = sum${r}_$s;
    }
//!end
//!end
}
