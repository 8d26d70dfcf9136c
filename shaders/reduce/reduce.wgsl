// One part of a sum over each image: KIND 0 Σx, 1 Σx², 2 Σx·b. FINISH: the whole sum, times `factor`, its root where ROOT.
// x, b: n images of `size` elements E; y: n images of `parts` floats.
// y[image, part] = Σ over 256·turns elements: `turns` by each invocation, then a tree. The order depends on `size` alone.
// A workgroup owns one part of one image, an invocation every 256th element of it.
//!use shared/element.wgsl
struct Params {
    origin: vec4<u32>,
    size: u32,
    parts: u32,
    turns: u32,
    factor: f32,
}

@group(0) @binding(0) var<storage, read> x: array<E>;
//!if KIND == 2
@group(0) @binding(1) var<storage, read> b: array<E>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;
//!else
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> p: Params;
//!end

var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let part = group.x + p.origin.x;
    let image = group.y + p.origin.y;
    var sum = E(0.0);
    for (var turn = 0u; turn < p.turns; turn++) {
        let i = (part * p.turns + turn) * 256u + lane;
        if i < p.size {
            let value = x[image * p.size + i];
//!if KIND == 0
            sum += value;
//!end
//!if KIND == 1
            sum += value * value;
//!end
//!if KIND == 2
            sum += value * b[image * p.size + i];
//!end
        }
    }
//!if V == 4
    sums[lane] = (sum.x + sum.y) + (sum.z + sum.w);
//!else
    sums[lane] = sum;
//!end
    for (var half = 128u; half > 0u; half >>= 1u) {
        // Parts the writes of `sums` from the reads of the next level.
        workgroupBarrier();
        if lane < half {
            sums[lane] += sums[lane + half];
        }
    }
    if lane == 0u {
//!if FINISH
//!if ROOT
        y[image * p.parts + part] = sqrt(p.factor * sums[0]);
//!else
        y[image * p.parts + part] = p.factor * sums[0];
//!end
//!else
        y[image * p.parts + part] = sums[0];
//!end
    }
}
