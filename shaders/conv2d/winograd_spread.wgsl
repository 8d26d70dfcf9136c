// First stage of Winograd F(TILE×TILE, 3×3): overlapping tiles of an image to the ALPHA² points of the transform.
// x: n h w c; v: ALPHA² × tiles × row, of which this launch fills c channels from `before` on; in f16 with HALF.
// v[a, b, t, i] = Σ B[y, a]·B[x, b]·x[n, ty·TILE + y − top, tx·TILE + x − left, i]; GRADIENT: by A, over tiles that do not overlap.
// NORM: of f((x − mean)·scale + offset) by table (n 4 c, shared/norm_finish.wgsl), f being SiLU with SILU; zeros lie outside all the same.
// A workgroup owns 64 (tile, 4 channels), an invocation one.
//!use conv2d/winograd_lines.wgsl
//!if NORM
//!use shared/element.wgsl
//!if SILU
//!use shared/silu.wgsl
//!end
//!end
struct Params {
    origin: vec4<u32>,
    count: u32,
    // The first tile of the launch, and how many there are.
    first: u32,
    tiles: u32,
    // Quads of channels: of x, of a row of v, in front of these.
    c: u32,
    row: u32,
    before: u32,
    h: i32,
    w: i32,
    tiles_y: u32,
    tiles_x: u32,
    top: i32,
    left: i32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
//!if NORM
@group(0) @binding(1) var<storage, read> table: array<vec4<f32>>;
//!end
//!if HALF
enable f16;
alias Point = vec4<f16>;
//!else
alias Point = vec4<f32>;
//!end
@group(0) @binding(1 + NORM) var<storage, read_write> v: array<Point>;
@group(0) @binding(2 + NORM) var<uniform> p: Params;

//!if GRADIENT
alias Patch = Short;
fn spread(d: Patch) -> Line {
    return spread_output(d);
}
//!else
alias Patch = Line;
fn spread(d: Patch) -> Line {
    return spread_input(d);
}
//!end

// Of the image and the channels of an invocation.
struct Norm {
    mean: vec4<f32>,
    scale: vec4<f32>,
    offset: vec4<f32>,
}

fn load(n: u32, iy: i32, ix: i32, q: u32, norm: Norm) -> vec4<f32> {
    let inside = iy >= 0 && iy < p.h && ix >= 0 && ix < p.w;
    let pixel = (i32(n) * p.h + clamp(iy, 0, p.h - 1)) * p.w + clamp(ix, 0, p.w - 1);
    let value = x[u32(pixel) * p.c + q];
//!if NORM
    let z = (value - norm.mean) * norm.scale + norm.offset;
//!if SILU
    return select(vec4<f32>(0.0), silu(z), inside);
//!else
    return select(vec4<f32>(0.0), z, inside);
//!end
//!else
    return select(vec4<f32>(0.0), value, inside);
//!end
}

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
    let iy = i32((tile / p.tiles_x) % p.tiles_y * TILE) - p.top;
    let ix = i32(tile % p.tiles_x * TILE) - p.left;
    var norm: Norm;
//!if NORM
    let entry = n * 4u * p.c + q;
    norm = Norm(table[entry], table[entry + p.c], table[entry + 2u * p.c]);
//!end
    let plane = p.tiles * p.row;
    let place = local * p.row + p.before + q;
//!for j in 0..PATCH
    let column$j = spread(Patch(
//!for i in 0..PATCH
        load(n, iy + $i, ix + $j, q, norm),
//!end
    ));
//!end
//!for i in 0..ALPHA
    {
        let line = spread(Patch(
//!for j in 0..PATCH
            column$j.e$i,
//!end
        ));
//!for j in 0..ALPHA
        v[${i*ALPHA+j}u * plane + place] = Point(line.e$j);
//!end
    }
//!end
}
