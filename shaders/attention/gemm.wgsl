// C = A·Bᵀ (MODE 0), A·B (1) or Aᵀ·B (2) for each image: the products of attention whose scores are kept, and of its gradient (`=`).
// A: m k (k m in MODE 2), B: n k in MODE 0, else k n; C: m n; `rows`: m numbers an image; `weights`: like C. `*_first` says with
// which image an operand begins. EPILOGUE 0: C = scale·sum; 1: C = exp(scale·sum − rows), the probabilities; 2:
// C = scale·weights·(sum − rows), the gradient by the logits (Dao et al. 2022, FlashAttention, Algorithm 4).
// A workgroup owns 64 x 64 of C of one image, an invocation 8 rows by two groups of 4 columns, in registers.
struct Params {
    origin: vec4<u32>,
    m: u32,
    n: u32,
    k: u32,
    a_first: u32,
    b_first: u32,
    c_first: u32,
    rows_first: u32,
    scale: f32,
}
//!use shared/element.wgsl

@group(0) @binding(0) var<storage, read> a: array<E>;
@group(0) @binding(1) var<storage, read> b: array<E>;
//!if EPILOGUE == 0
@group(0) @binding(2) var<storage, read_write> c: array<E>;
@group(0) @binding(3) var<uniform> p: Params;
//!end
//!if EPILOGUE == 1
@group(0) @binding(2) var<storage, read> rows: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<E>;
@group(0) @binding(4) var<uniform> p: Params;
//!end
//!if EPILOGUE == 2
@group(0) @binding(2) var<storage, read> rows: array<f32>;
@group(0) @binding(3) var<storage, read> weights: array<E>;
@group(0) @binding(4) var<storage, read_write> c: array<E>;
@group(0) @binding(5) var<uniform> p: Params;
//!end

// Four numbers from `i` on of a line of `size` that begins at `base`. Past the end: numbers of the line, which are not used (V 4: no
// line ends within four), or zeros.
fn load_a(base: u32, i: u32, size: u32) -> vec4<f32> {
//!if V == 4
    return a[(base + min(i, size - 4u)) / 4u];
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
    return b[(base + min(i, size - 4u)) / 4u];
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

// The epilogue of one row and four columns, and its store.
fn finish(image: u32, row: u32, column: u32, sum: vec4<f32>) {
    if row >= p.m || column >= p.n {
        return;
    }
    let at = ((p.c_first + image) * p.m + row) * p.n + column;
//!if EPILOGUE == 0
    let value = p.scale * sum;
//!end
//!if EPILOGUE == 1
    let value = exp(p.scale * sum - rows[(p.rows_first + image) * p.m + row]);
//!end
//!if EPILOGUE == 2
    let difference = p.scale * (sum - rows[(p.rows_first + image) * p.m + row]);
//!end
//!if V == 4
//!if EPILOGUE == 2
    c[at / 4u] = weights[at / 4u] * difference;
//!else
    c[at / 4u] = value;
//!end
//!else
//!for j in 0..4
    if column + $j < p.n {
//!if EPILOGUE == 2
        c[at + $j] = weights[at + $j] * difference[$j];
//!else
        c[at + $j] = value[$j];
//!end
    }
//!end
//!end
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let image = group.z + p.origin.z;
    let row = (group.y + p.origin.y) * 64u + lane / 8u * 8u;
    let column0 = (group.x + p.origin.x) * 64u + lane % 8u * 4u;
    let column1 = column0 + 32u;
    let a_image = (p.a_first + image) * p.m * p.k;
    let b_image = (p.b_first + image) * p.n * p.k;
//!for r in 0..8
    var sum${r}_0 = vec4<f32>(0.0);
    var sum${r}_1 = vec4<f32>(0.0);
//!end
//!if MODE < 2
//!for r in 0..8
    let a$r = a_image + min(row + $r, p.m - 1u) * p.k;
//!end
//!end
//!if MODE == 0
//!for j in 0..4
    let b$j = b_image + min(column0 + $j, p.n - 1u) * p.k;
    let d$j = b_image + min(column1 + $j, p.n - 1u) * p.k;
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
        let line$q = b_image + min(i + $q, p.k - 1u) * p.n;
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
        let x0 = load_a(a_image + i * p.m, row, p.m);
        let x1 = load_a(a_image + i * p.m, row + 4u, p.m);
        let left = load_b(b_image + i * p.n, column0, p.n);
        let right = load_b(b_image + i * p.n, column1, p.n);
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
    finish(image, row + $r, column0, sum${r}_0);
    finish(image, row + $r, column1, sum${r}_1);
//!end
}
