// y = x resized bilinearly with aligned corners: the outermost pixels of both images coincide.
// x: n h w columns E. y: n out_h out_w columns E.
// Output row o lies at o·(h - 1)/(out_h - 1), in whole numbers so that nothing is rounded before the share; likewise columns.
// A workgroup owns 256 elements E of y, an invocation one.
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

@group(0) @binding(0) var<storage, read> x: array<E>;
@group(0) @binding(1) var<storage, read_write> y: array<E>;
@group(0) @binding(2) var<uniform> p: Params;

// The two pixels around a place, and the share of the second.
struct Around {
    low: u32,
    high: u32,
    share: f32,
}

fn around(at: u32, side: u32, out_side: u32) -> Around {
    let steps = max(out_side, 2u) - 1u;
    let scaled = at * (side - 1u);
    let low = scaled / steps;
    return Around(low, min(low + 1u, side - 1u), f32(scaled % steps) / f32(steps));
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let own = (group.x + p.origin.x) * 256u + lane;
    if own >= p.count {
        return;
    }
    let pixel = own / p.columns;
    let column = own % p.columns;
    let line = pixel / p.out_w;
    let vertical = around(line % p.out_h, p.h, p.out_h);
    let horizontal = around(pixel % p.out_w, p.w, p.out_w);
    let base = line / p.out_h * p.h;
    let top = (base + vertical.low) * p.w;
    let bottom = (base + vertical.high) * p.w;
    let low = mix(
        x[(top + horizontal.low) * p.columns + column],
        x[(top + horizontal.high) * p.columns + column],
        horizontal.share,
    );
    let high = mix(
        x[(bottom + horizontal.low) * p.columns + column],
        x[(bottom + horizontal.high) * p.columns + column],
        horizontal.share,
    );
    y[own] = mix(low, high, vertical.share);
}
