// What follows the sum of a matrix product; the file that uses this declares Params and its first BEFORE bindings.
// bias: n; temb: images × n; residual, y: batch × m × n, all in quads of columns.
// y = (sum + bias + temb + residual)·scale.
// Called by one invocation for 4 columns of a row.
//!if BIAS
@group(0) @binding(BEFORE) var<storage, read> bias: array<vec4<f32>>;
//!end
//!if TEMB
@group(0) @binding(BEFORE + BIAS) var<storage, read> temb: array<vec4<f32>>;
//!end
//!if RESIDUAL
@group(0) @binding(BEFORE + BIAS + TEMB) var<storage, read> residual: array<vec4<f32>>;
//!end
@group(0) @binding(BEFORE + BIAS + TEMB + RESIDUAL) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(BEFORE + 1 + BIAS + TEMB + RESIDUAL) var<uniform> p: Params;

fn put(z: u32, row: u32, column: u32, sum: vec4<f32>) {
    if row >= p.m {
        return;
    }
    var value = sum;
//!if BIAS
    value += bias[column];
//!end
//!if TEMB
    value += temb[row / p.image * p.n + column];
//!end
    let at = (z * p.m + row) * p.n + column;
//!if RESIDUAL
    value += residual[at];
//!end
    y[at] = value * p.scale;
}
