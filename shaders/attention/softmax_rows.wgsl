// Exponentials of each row in place, the logarithm of their sum and the factor that is left: attention/softmax.wgsl for software devices.
// x: rows of `size` elements E, from row `first` on of all; lse: one number for each of all rows; factors: one for each row here.
// lse = max + ln Σ exp(x − max); x = exp(x − max); factor = 1/Σ exp(x − max).
// A workgroup owns 8 rows, an invocation one: no barrier, and as many loads as any other way.
//!use shared/element.wgsl
struct Params {
    origin: vec4<u32>,
    size: u32,
    first: u32,
    rows: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<E>;
@group(0) @binding(1) var<storage, read_write> lse: array<f32>;
@group(0) @binding(2) var<storage, read_write> factors: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = (group.x + p.origin.x) * 8u + lane;
    if row >= p.rows {
        return;
    }
    let base = row * p.size;
    var largest = x[base];
    for (var i = 1u; i < p.size; i++) {
        largest = max(largest, x[base + i]);
    }
//!if V == 4
    let top = max(max(largest.x, largest.y), max(largest.z, largest.w));
//!else
    let top = largest;
//!end
    var sum = E(0.0);
    for (var i = 0u; i < p.size; i++) {
        let value = exp(x[base + i] - top);
        x[base + i] = value;
        sum += value;
    }
//!if V == 4
    let total = (sum.x + sum.y) + (sum.z + sum.w);
//!else
    let total = sum;
//!end
    factors[row] = 1.0 / total;
    lse[p.first + row] = top + log(total);
}
