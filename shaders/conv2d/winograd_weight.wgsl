// Weights for Winograd F(TILE×TILE, 3×3), made once per change of the parameters.
// weight: any layout by strides; u: ALPHA² × rows × columns, rows the input channels, columns the output channels (multiples of 4); in f16 with HALF.
// u[a, b, i, o] = Σ G[a, y]·G[b, x]·weight[first + o·per_o + i·per_i + y·per_y + x·per_x]; negative strides flip.
// A workgroup owns 64 (input channel, 4 output channels), an invocation one.
//!use conv2d/winograd_lines.wgsl
struct Params {
    origin: vec4<u32>,
    count: u32,
    // Quads of output channels.
    columns: u32,
    first: i32,
    per_o: i32,
    per_i: i32,
    per_y: i32,
    per_x: i32,
}

@group(0) @binding(0) var<storage, read> weight: array<f32>;
//!if HALF
enable f16;
alias Point = vec4<f16>;
//!else
alias Point = vec4<f32>;
//!end
@group(0) @binding(1) var<storage, read_write> u: array<Point>;
@group(0) @binding(2) var<uniform> p: Params;

fn tap(at: i32) -> vec4<f32> {
    return vec4<f32>(weight[at], weight[at + p.per_o], weight[at + 2 * p.per_o], weight[at + 3 * p.per_o]);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (group.x + p.origin.x) * 64u + lane;
    if at >= p.count {
        return;
    }
    let first = p.first + i32(at / p.columns) * p.per_i + i32(at % p.columns) * 4 * p.per_o;
//!for j in 0..3
    let column$j = spread_taps(Three(
//!for i in 0..3
        tap(first + $i * p.per_y + $j * p.per_x),
//!end
    ));
//!end
//!for i in 0..ALPHA
    {
        let line = spread_taps(Three(column0.e$i, column1.e$i, column2.e$i));
//!for j in 0..ALPHA
        u[${i*ALPHA+j}u * p.count + at] = Point(line.e$j);
//!end
    }
//!end
}
