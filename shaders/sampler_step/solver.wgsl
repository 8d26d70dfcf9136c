// k = kept_x·x + kept_output·output, clamped to ±clip; y = x·x + output·output + kept·k + Σ_j before_j·slot_j + noise·z; then a slot takes k, another x.
// x, output, z, y: `count` elements E, `per_image` an image; kept: count_of_slots × count; table: rows × columns, from `slots` on the two slots and before_j.
// One row of a few-step solver; the coefficients are worked out in f64 on the CPU. A slot whose factor is 0 is not read.
// A workgroup owns 256 elements, an invocation one.
//!use shared/element.wgsl
//!use shared/table_row.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
    rows: u32,
    columns: u32,
    per_step: u32,
    per_image: u32,
    first: u32,
    noise: u32,
    slots: u32,
    count_of_slots: u32,
    clip: f32,
}

@group(0) @binding(0) var<storage, read> x: array<E>;
@group(0) @binding(1) var<storage, read> output: array<E>;
//!if NOISE
@group(0) @binding(2) var<storage, read> z: array<E>;
//!end
@group(0) @binding(2 + NOISE) var<storage, read> table: array<f32>;
@group(0) @binding(3 + NOISE) var<storage, read> counter: array<u32>;
@group(0) @binding(4 + NOISE) var<storage, read_write> kept: array<E>;
@group(0) @binding(5 + NOISE) var<storage, read_write> y: array<E>;
@group(0) @binding(6 + NOISE) var<uniform> p: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + p.origin.x) * 256u + lane;
    if i >= p.count {
        return;
    }
    let row = table_row(counter[0], p.rows, p.per_step, i / p.per_image) * p.columns;
    let c = row + p.first;
    let s = row + p.slots;
    var k = table[c] * x[i] + table[c + 1u] * output[i];
//!if CLIP
    k = clamp(k, E(-p.clip), E(p.clip));
//!end
    var v = table[c + 2u] * x[i] + table[c + 3u] * output[i] + table[c + 4u] * k;
    for (var j = 0u; j < p.count_of_slots; j++) {
        let factor = table[s + 2u + j];
        if factor != 0.0 {
            v += factor * kept[j * p.count + i];
        }
    }
//!if NOISE
    v += table[row + p.noise] * z[i];
//!end
    let takes_k = u32(table[s]);
    if takes_k < p.count_of_slots {
        kept[takes_k * p.count + i] = k;
    }
    let takes_x = u32(table[s + 1u]);
    if takes_x < p.count_of_slots {
        kept[takes_x * p.count + i] = x[i];
    }
    y[i] = v;
}
