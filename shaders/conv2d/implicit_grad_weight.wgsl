// Partial sums of the gradient by the weight over chunks of pixels, by tiles in workgroup memory: `=`, not `+=`.
// x: n H W C; grad_y: n HO WO CO; part: chunk × tap × C × CO; C, CO multiples of 4.
// part[chunk, ky, kx, i, o] = Σ_{pixels of the chunk} x[n, oy·S + ky·D − TOP, ox·S + kx·D − LEFT, i]·grad_y[n, oy, ox, o].
// A workgroup owns BM × BN channels of a tap and a chunk, an invocation 8 × 8 of them.
struct Params {
    origin: vec4<u32>,
    // Pixels, and pixels of a chunk.
    k: u32,
    chunk: u32,
}

//!use conv2d/tile_t.wgsl
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> grad_y: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> part: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> p: Params;

const TILES_M: u32 = (C + BM - 1u) / BM;
const TILES_N: u32 = (CO + BN - 1u) / BN;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = group.x + p.origin.x;
    let first_n = tile % TILES_N * COLUMNS;
    let first_m = tile / TILES_N % TILES_M * ROWS;
    // Taps inside chunks.
    let z = tile / (TILES_N * TILES_M);
    let first_pixel = z / (KH * KW) * p.chunk;
    let down_by = i32(z / KW % KH * DILATION) - TOP;
    let right_by = i32(z % KW * DILATION) - LEFT;
    let across = lane % (COLUMNS / 2u);
    let down = lane / (COLUMNS / 2u);
//!for i in 0..8
//!for c in 0..2
    var sum${i}_$c = vec4<f32>(0.0);
//!end
//!end
    for (var first = 0u; first < p.chunk; first += 16u) {
        // Part the reads of the last turn from the writes of this one.
        workgroupBarrier();
        for (var i = lane; i < 16u * ROWS; i += THREADS) {
            // Pixels behind the last and behind the chunk count as zero, as those outside of the image do.
            let local = first + i / ROWS;
            let k = first_pixel + local;
            let pixel = min(k, p.k - 1u);
            let iy = i32(pixel / WO % HO * STRIDE) + down_by;
            let ix = i32(pixel % WO * STRIDE) + right_by;
            let inside = k < p.k && local < p.chunk && iy >= 0 && iy < i32(H) && ix >= 0 && ix < i32(W);
            let line = i32(pixel / (HO * WO) * H) + clamp(iy, 0, i32(H) - 1);
            let place = u32(line * i32(W) + clamp(ix, 0, i32(W) - 1));
            tile_a[i] = select(vec4<f32>(0.0), x[place * (C / 4u) + min(first_m + i % ROWS, C / 4u - 1u)], inside);
        }
        for (var i = lane; i < 16u * COLUMNS; i += THREADS) {
            let k = min(first_pixel + first + i / COLUMNS, p.k - 1u);
            tile_b[i] = grad_y[k * (CO / 4u) + min(first_n + i % COLUMNS, CO / 4u - 1u)];
        }
        // Part the writes of the tiles from their reads.
        workgroupBarrier();
//!use conv2d/tile_t_multiply.wgsl
    }
//!for c in 0..2
    {
        let column = first_n + across + ${c}u * (COLUMNS / 2u);
//!for h in 0..2
        {
            let row = first_m + down + ${h}u * (ROWS / 2u);
            if column < CO / 4u && row < C / 4u {
                let place = (z * C + row * 4u) * (CO / 4u) + column;
//!for r in 0..4
                part[place + ${r}u * (CO / 4u)] = sum${h*4+r}_$c;
//!end
            }
        }
//!end
    }
//!end
}
