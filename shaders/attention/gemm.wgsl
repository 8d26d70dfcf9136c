// C = A·Bᵀ (MODE 0), A·B (1) or Aᵀ·B (2) for each image, for any m, n and k and with no workgroup memory; writes `=`.
// A: m k (k m in MODE 2), B: n k in MODE 0, else k n; C: m n; what follows the sum is in attention/gemm_epilogue.wgsl.
// C = f(Σ_k A·B): the products of attention whose scores are kept, and of its gradient (Dao et al. 2022, FlashAttention, Algorithm 4).
// A workgroup owns 64 x 64 of C of one image, an invocation 8 rows by two groups of 4 columns, in registers.
//!use attention/gemm_epilogue.wgsl

// Four numbers from `i` on of a line of `size` that begins at `base`. Past the end: numbers of the line, which are not used (V 4: no
// line ends within four), or zeros.
fn load_a(base: u32, i: u32, size: u32) -> vec4<f32> {
//!if V == 4
    return a[base + min(i, size - 4u) / 4u];
//!else
    var r = vec4<f32>(0.0);
//!for j in 0..4
    if i + $j < size {
        r[$j] = a[base + i + $j];
    }
//!end
    return r;
//!end
}

fn load_b(base: u32, i: u32, size: u32) -> vec4<f32> {
//!if V == 4
    return b[base + min(i, size - 4u) / 4u];
//!else
    var r = vec4<f32>(0.0);
//!for j in 0..4
    if i + $j < size {
        r[$j] = b[base + i + $j];
    }
//!end
    return r;
//!end
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = group.x + p.origin.x;
    let image = tile / (p.tiles_n * p.tiles_m);
    let row = tile / p.tiles_n % p.tiles_m * 64u + lane / 8u * 8u;
    let column0 = tile % p.tiles_n * 64u + lane % 8u * 4u;
    let column1 = column0 + 32u;
    let a_image = p.a_first + image * p.a_image;
    let b_image = p.b_first + image * p.b_image;
//!for r in 0..8
    var sum${r}_0 = vec4<f32>(0.0);
    var sum${r}_1 = vec4<f32>(0.0);
//!end
//!if MODE < 2
//!for r in 0..8
    let a$r = a_image + min(row + $r, p.m - 1u) * p.a_line;
//!end
//!end
//!if MODE == 0
//!for j in 0..4
    let b$j = b_image + min(column0 + $j, p.n - 1u) * p.b_line;
    let d$j = b_image + min(column1 + $j, p.n - 1u) * p.b_line;
//!end
    for (var i = 0u; i < p.k; i += 4u) {
//!for j in 0..4
        let left$j = load_b(b$j, i, p.k);
        let right$j = load_b(d$j, i, p.k);
//!end
//!for r in 0..8
        let x$r = load_a(a$r, i, p.k);
        sum${r}_0 += vec4<f32>(dot(x$r, left0), dot(x$r, left1), dot(x$r, left2), dot(x$r, left3));
        sum${r}_1 += vec4<f32>(dot(x$r, right0), dot(x$r, right1), dot(x$r, right2), dot(x$r, right3));
//!end
    }
//!end
//!if MODE == 1
    for (var i = 0u; i < p.k; i += 4u) {
//!for r in 0..8
        let x$r = load_a(a$r, i, p.k);
//!end
//!for q in 0..4
        // Beyond k the numbers of A are 0.
        let line$q = b_image + min(i + $q, p.k - 1u) * p.b_line;
        let left$q = load_b(line$q, column0, p.n);
        let right$q = load_b(line$q, column1, p.n);
//!for r in 0..8
        sum${r}_0 += x$r[$q] * left$q;
        sum${r}_1 += x$r[$q] * right$q;
//!end
//!end
    }
//!end
//!if MODE == 2
    for (var i = 0u; i < p.k; i++) {
        let x0 = load_a(a_image + i * p.a_line, row, p.m);
        let x1 = load_a(a_image + i * p.a_line, row + 4u, p.m);
        let left = load_b(b_image + i * p.b_line, column0, p.n);
        let right = load_b(b_image + i * p.b_line, column1, p.n);
//!for half in 0..2
//!for q in 0..4
//!for r in 4 * $half + $q..4 * $half + $q + 1
        sum${r}_0 += x$half[$q] * left;
        sum${r}_1 += x$half[$q] * right;
//!end
//!end
//!end
    }
//!end
//!for r in 0..8
    put(image, row + $r, column0 / 4u, sum${r}_0);
    put(image, row + $r, column1 / 4u, sum${r}_1);
//!end
}
