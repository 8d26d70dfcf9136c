// y = mean or largest of each window of `size`² pixels, `stride` apart, with `pad` pixels around the image.
// x: n h w columns E. y: n out_h out_w columns E. With MAX, chosen: as y, the place dy·size + dx of the largest in its window.
// The mean counts the padding as zeros, the largest is looked for inside the image; of equal ones the first in row-major order counts
// (PyTorch's rule). A workgroup owns 256 elements E of y, an invocation one.
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

@group(0) @binding(0) var<storage, read> x: array<E>;
@group(0) @binding(1) var<storage, read_write> y: array<E>;
//!if MAX
//!if V == 4
alias Place = vec4<u32>;
//!else
alias Place = u32;
//!end
@group(0) @binding(2) var<storage, read_write> chosen: array<Place>;
@group(0) @binding(3) var<uniform> p: Params;
//!else
@group(0) @binding(2) var<uniform> p: Params;
//!end

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let own = (group.x + p.origin.x) * 256u + lane;
    if own >= p.count {
        return;
    }
    let pixel = own / p.columns;
    let column = own % p.columns;
    let line = pixel / p.out_w;
    // The window's corner, counted from the padding's corner.
    let top = line % p.out_h * p.stride;
    let left = pixel % p.out_w * p.stride;
    let base = line / p.out_h * p.h * p.w;
    // Offsets inside the image: pad ≤ corner + offset < pad + side.
    let dy_end = min(p.size, p.pad + p.h - top);
    let dx_end = min(p.size, p.pad + p.w - left);
    let dy_start = max(p.pad, top) - top;
    let dx_start = max(p.pad, left) - left;
//!if MAX
    let first = (base + (top + dy_start - p.pad) * p.w + left + dx_start - p.pad) * p.columns + column;
    var best = x[first];
    var place = Place(dy_start * p.size + dx_start);
//!else
    var sum = E(0.0);
//!end
    for (var dy = dy_start; dy < dy_end; dy++) {
        let row = base + (top + dy - p.pad) * p.w;
        for (var dx = dx_start; dx < dx_end; dx++) {
            let value = x[(row + left + dx - p.pad) * p.columns + column];
//!if MAX
            let better = value > best;
            best = select(best, value, better);
            place = select(place, Place(dy * p.size + dx), better);
//!else
            sum += value;
//!end
        }
    }
//!if MAX
    y[own] = best;
    chosen[own] = place;
//!else
    y[own] = sum * p.share;
//!end
}
