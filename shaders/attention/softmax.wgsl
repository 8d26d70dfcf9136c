// Exponentials of each row, the logarithm of their sum, and the factor that makes them probabilities: in place, or into `halves` of f16 (HALF).
// x, halves: rows of `size` elements E, from row `first` on of all; lse: one number for each of all rows; factors: one for each row here.
// lse = max + ln Σ exp(x − max); x or halves = UNIT·exp(x − max); factor = 1/(UNIT·Σ exp(x − max)), which the product with the values applies.
// A workgroup owns one row, an invocation every 64th element E of it.
//!use shared/element.wgsl
//!if HALF
enable f16;
// Lifts what counts above 6e-5, below which f16 loses bits, and on some devices all; the largest stays below its 65,504.
const UNIT: f32 = 32768.0;
//!else
const UNIT: f32 = 1.0;
//!end

struct Params {
    origin: vec4<u32>,
    size: u32,
    first: u32,
}

//!if HALF
@group(0) @binding(0) var<storage, read> x: array<E>;
//!else
@group(0) @binding(0) var<storage, read_write> x: array<E>;
//!end
@group(0) @binding(1) var<storage, read_write> lse: array<f32>;
@group(0) @binding(2) var<storage, read_write> factors: array<f32>;
//!if HALF
@group(0) @binding(3) var<storage, read_write> halves: array<vec4<f16>>;
//!end
@group(0) @binding(3 + HALF) var<uniform> p: Params;

var<workgroup> shared_max: array<f32, 64>;
var<workgroup> shared_sum: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x + p.origin.x;
    let base = row * p.size;
    // Rows are never empty, so the first element is a bound that lies in the row.
    var largest = x[base + min(lane, p.size - 1u)];
    for (var i = lane; i < p.size; i += 64u) {
        largest = max(largest, x[base + i]);
    }
//!if V == 4
    shared_max[lane] = max(max(largest.x, largest.y), max(largest.z, largest.w));
//!else
    shared_max[lane] = largest;
//!end
    for (var half = 32u; half > 0u; half >>= 1u) {
        // Parts the writes of `shared_max` from the reads of the next level.
        workgroupBarrier();
        if lane < half {
            shared_max[lane] = max(shared_max[lane], shared_max[lane + half]);
        }
    }
    // Parts the last write of the maximum from its reads by all.
    workgroupBarrier();
    let top = shared_max[0];
    var sum = E(0.0);
    for (var i = lane; i < p.size; i += 64u) {
        let value = exp(x[base + i] - top);
//!if HALF
        halves[base + i] = vec4<f16>(UNIT * value);
//!else
        x[base + i] = value;
//!end
        sum += value;
    }
//!if V == 4
    shared_sum[lane] = (sum.x + sum.y) + (sum.z + sum.w);
//!else
    shared_sum[lane] = sum;
//!end
    for (var half = 32u; half > 0u; half >>= 1u) {
        // Parts the writes of `shared_sum` from the reads of the next level.
        workgroupBarrier();
        if lane < half {
            shared_sum[lane] += shared_sum[lane + half];
        }
    }
    if lane == 0u {
        let total = shared_sum[0];
        factors[row] = 1.0 / (UNIT * total);
        lse[p.first + row] = top + log(total);
    }
}
