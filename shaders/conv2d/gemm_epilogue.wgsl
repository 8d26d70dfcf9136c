// What follows the sum of a matrix product; the file that uses this declares Params and its first BEFORE bindings.
// bias: n; temb: images × some of temb_line columns; residual, y: batch × m × n, all in quads of columns.
// y = (sum + bias + temb + residual)·scale. With MORE outputs each has as many of the columns as the next, and there is one batch.
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
//!for o in 0..MORE
@group(0) @binding(BEFORE + ${o+1}u + BIAS + TEMB + RESIDUAL) var<storage, read_write> more$o: array<vec4<f32>>;
//!end
@group(0) @binding(BEFORE + 1 + MORE + BIAS + TEMB + RESIDUAL) var<uniform> p: Params;

fn put(z: u32, row: u32, column: u32, sum: vec4<f32>) {
    if row >= p.m {
        return;
    }
    var value = sum;
//!if BIAS
    value += bias[column];
//!end
//!if TEMB
    value += temb[row / p.image * p.temb_line + p.temb_first + column];
//!end
//!if MORE
    let width = p.n / (1u + MORE);
    let at = row * width + column % width;
    let output = column / width;
    if output == 0u {
        y[at] = value * p.scale;
    }
//!for o in 0..MORE
    if output == ${o+1}u {
        more$o[at] = value * p.scale;
    }
//!end
//!else
    let at = (z * p.m + row) * p.n + column;
//!if RESIDUAL
    value += residual[at];
//!end
    y[at] = value * p.scale;
//!end
}
