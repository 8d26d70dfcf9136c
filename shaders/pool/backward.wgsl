// grad_x = Σ over the windows with the pixel in them of grad_y/size², or with MAX of grad_y where the pixel was chosen; writes `=`.
// grad_y: n out_h out_w columns E; chosen: as grad_y, from forward.wgsl. grad_x: n h w columns E.
// A pixel looks at its windows in row-major order, so no atomics are needed.
// A workgroup owns 256 elements E of grad_x, an invocation one.
//!use shared/element.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
    h: u32,
    w: u32,
    out_h: u32,
    out_w: u32,
    columns: u32,
    size: u32,
    stride: u32,
    pad: u32,
    // 1/size².
    share: f32,
}

@group(0) @binding(0) var<storage, read> grad_y: array<E>;
//!if MAX
//!if V == 4
alias Place = vec4<u32>;
//!else
alias Place = u32;
//!end
@group(0) @binding(1) var<storage, read> chosen: array<Place>;
@group(0) @binding(2) var<storage, read_write> grad_x: array<E>;
@group(0) @binding(3) var<uniform> p: Params;
//!else
@group(0) @binding(1) var<storage, read_write> grad_x: array<E>;
@group(0) @binding(2) var<uniform> p: Params;
//!end

// The first window with the place `at` (counted from the padding's corner) in it.
fn first_window(at: u32) -> u32 {
    return select(0u, (at - min(at, p.size - 1u) + p.stride - 1u) / p.stride, at >= p.size);
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
    let top = line % p.h + p.pad;
    let left = pixel % p.w + p.pad;
    let base = line / p.h * p.out_h * p.out_w;
    let row_end = min(top / p.stride + 1u, p.out_h);
    let line_end = min(left / p.stride + 1u, p.out_w);
    var sum = E(0.0);
    for (var oy = first_window(top); oy < row_end; oy++) {
        for (var ox = first_window(left); ox < line_end; ox++) {
            let i = (base + oy * p.out_w + ox) * p.columns + column;
//!if MAX
            let place = Place((top - oy * p.stride) * p.size + left - ox * p.stride);
            sum += select(E(0.0), grad_y[i], chosen[i] == place);
//!else
            sum += grad_y[i];
//!end
        }
    }
//!if MAX
    grad_x[own] = sum;
//!else
    grad_x[own] = sum * p.share;
//!end
}
