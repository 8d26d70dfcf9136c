// grad_x = Σ over the output pixels that a pixel has a share in of share·grad_y; writes `=`.
// grad_y: n out_h out_w columns E. grad_x: n h w columns E.
// The share of row i in output row o is 1 - |o·(h - 1)/(out_h - 1) - i| where that is positive; likewise columns.
// A workgroup owns 256 elements E of grad_x, an invocation one: it looks at its output pixels in row-major order, without atomics.
//!use shared/element.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
    h: u32,
    w: u32,
    out_h: u32,
    out_w: u32,
    columns: u32,
}

@group(0) @binding(0) var<storage, read> grad_y: array<E>;
@group(0) @binding(1) var<storage, read_write> grad_x: array<E>;
@group(0) @binding(2) var<uniform> p: Params;

// The output places with a share of a pixel: the first one, and the one behind the last.
fn reach(at: u32, side: u32, out_side: u32) -> vec2<u32> {
    if side == 1u {
        return vec2<u32>(0u, out_side);
    }
    let steps = max(out_side, 2u) - 1u;
    let first = select(0u, (max(at, 1u) - 1u) * steps / (side - 1u) + 1u, at > 0u);
    let end = ((at + 1u) * steps + side - 2u) / (side - 1u);
    return vec2<u32>(first, min(end, out_side));
}

fn share(out_at: u32, at: u32, side: u32, out_side: u32) -> f32 {
    let steps = i32(max(out_side, 2u) - 1u);
    let distance = abs(i32(out_at * (side - 1u)) - i32(at) * steps);
    return f32(max(steps - distance, 0)) / f32(steps);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let own = (group.x + p.origin.x) * 256u + lane;
    if own >= p.count {
        return;
    }
    let pixel = own / p.columns;
    let column = own % p.columns;
    let line = pixel / p.w;
    let iy = line % p.h;
    let ix = pixel % p.w;
    let base = line / p.h * p.out_h;
    let rows = reach(iy, p.h, p.out_h);
    let cols = reach(ix, p.w, p.out_w);
    var sum = E(0.0);
    for (var oy = rows.x; oy < rows.y; oy++) {
        var of_row = E(0.0);
        for (var ox = cols.x; ox < cols.y; ox++) {
            let i = ((base + oy) * p.out_w + ox) * p.columns + column;
            of_row += share(ox, ix, p.w, p.out_w) * grad_y[i];
        }
        sum += share(oy, iy, p.h, p.out_h) * of_row;
    }
    grad_x[own] = sum;
}
