// Weights as taps × input channels × output channels, both channel counts rounded up with zeros; in f16 with HALF.
// weight: any layout by strides; packed: kh·kw × ROWS × LINE from `before` on, where ROWS holds c1 and c2 each rounded up to 4.
// packed[ky, kx, r, o] = weight[first + o·per_o + i·per_i + ky·per_y + kx·per_x] for o below `width`; negative strides flip.
// A workgroup owns 64 elements, an invocation one.
struct Params {
    origin: vec4<u32>,
    count: u32,
    rows: u32,
    width: u32,
    line: u32,
    before: u32,
    kw: u32,
    c1: u32,
    c1_rounded: u32,
    c2: u32,
    c_out: u32,
    first: i32,
    per_o: i32,
    per_i: i32,
    per_y: i32,
    per_x: i32,
}

@group(0) @binding(0) var<storage, read> weight: array<f32>;
//!if HALF
enable f16;
alias Packed = f16;
//!else
alias Packed = f32;
//!end
@group(0) @binding(1) var<storage, read_write> packed: array<Packed>;
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (group.x + p.origin.x) * 64u + lane;
    if at >= p.count {
        return;
    }
    let o = at % p.width;
    let row = (at / p.width) % p.rows;
    let tap = at / (p.width * p.rows);
    let in_second = row >= p.c1_rounded;
    let local = select(row, row - p.c1_rounded, in_second);
    let held = select(p.c1, p.c2, in_second);
    var value = 0.0;
    if local < held && o < p.c_out {
        let i = select(local, local + p.c1, in_second);
        let index = p.first + i32(o) * p.per_o + i32(i) * p.per_i
            + i32(tap / p.kw) * p.per_y + i32(tap % p.kw) * p.per_x;
        value = weight[index];
    }
    packed[p.before + at / p.width * p.line + o] = Packed(value);
}
