// Sums over chunks of rows, one stage of two (or the only one).
// x: groups × rows × columns E; y: groups × chunks × columns E, chunks = ⌈rows / chunk⌉.
// y[g, k, c] = Σ_{r in chunk k} x[g, r, c], rows in order.
// A workgroup owns 256 of `count` sums, an invocation one; neighbours read neighbouring columns.
//!use shared/element.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
    columns: u32,
    rows: u32,
    chunk: u32,
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
    let chunks = (p.rows + p.chunk - 1u) / p.chunk;
    let column = at % p.columns;
    let k = (at / p.columns) % chunks;
    let g = at / (p.columns * chunks);
    let first = k * p.chunk;
    let last = min(first + p.chunk, p.rows);
    var place = (g * p.rows + first) * p.columns + column;
    var sum = E(0.0);
    for (var r = first; r < last; r++) {
        sum += x[place];
        place += p.columns;
    }
    y[at] = sum;
}
