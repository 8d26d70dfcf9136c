// First stage of Winograd F(TILE×TILE, 3×3): overlapping tiles of an image to the ALPHA² points of the transform.
// x: n h w c; v: ALPHA² × tiles × row, of which this launch fills c channels from `before` on; in f16 with HALF.
// v[a, b, t, i] = Σ B[y, a]·B[x, b]·x[n, ty·TILE + y − top, tx·TILE + x − left, i]; GRADIENT: by A, over tiles that do not overlap.
// A workgroup owns 64 (tile, 4 channels), an invocation one.
//!use conv2d/winograd_lines.wgsl
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
//!if HALF
enable f16;
alias Point = vec4<f16>;
//!else
alias Point = vec4<f32>;
//!end
@group(0) @binding(1) var<storage, read_write> v: array<Point>;
@group(0) @binding(2) var<uniform> p: Params;

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

fn load(n: u32, iy: i32, ix: i32, q: u32) -> vec4<f32> {
    let inside = iy >= 0 && iy < p.h && ix >= 0 && ix < p.w;
    let pixel = (i32(n) * p.h + clamp(iy, 0, p.h - 1)) * p.w + clamp(ix, 0, p.w - 1);
    return select(vec4<f32>(), x[u32(pixel) * p.c + q], inside);
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
    let plane = p.tiles * p.row;
    let place = local * p.row + p.before + q;
//!for j in 0..PATCH
    let column$j = spread(Patch(
//!for i in 0..PATCH
        load(n, iy + $i, ix + $j, q),
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
