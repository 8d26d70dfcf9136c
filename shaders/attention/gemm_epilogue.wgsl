// Operands of the products of attention and of its gradient, and what follows a sum: C = A·Bᵀ (MODE 0), A·B (1) or Aᵀ·B (2).
// A: m k (k m in MODE 2), B: n k in MODE 0, else k n; C: m n, one of each an image; where the first image's begins, and the distances
// of its rows and of images, are in E. `rows`: m numbers an image; `weights`: like C. EPILOGUE 0: C = scale·sum; 1: C = exp(scale·sum −
// rows), the probabilities; 2: C = scale·weights·(sum − rows), the gradient by the logits (Dao et al. 2022, Algorithm 4); 3: C = rows·sum.
// With A_HALF, A is of f16. put() is called by one invocation for a row and a quad of columns.
//!use shared/element.wgsl
struct Params {
    origin: vec4<u32>,
    // Of all images, down and across.
    tiles: u32,
    tiles_m: u32,
    tiles_n: u32,
    m: u32,
    n: u32,
    k: u32,
    a_first: u32,
    a_line: u32,
    a_image: u32,
    b_first: u32,
    b_line: u32,
    b_image: u32,
    c_first: u32,
    c_line: u32,
    c_image: u32,
    rows_first: u32,
    scale: f32,
}

//!if A_HALF
@group(0) @binding(0) var<storage, read> a: array<vec4<f16>>;
//!else
@group(0) @binding(0) var<storage, read> a: array<E>;
//!end
@group(0) @binding(1) var<storage, read> b: array<E>;
//!if EPILOGUE == 0
@group(0) @binding(2) var<storage, read_write> c: array<E>;
@group(0) @binding(3) var<uniform> p: Params;
//!else
@group(0) @binding(2) var<storage, read> rows: array<f32>;
//!if EPILOGUE == 2
@group(0) @binding(3) var<storage, read> weights: array<E>;
@group(0) @binding(4) var<storage, read_write> c: array<E>;
@group(0) @binding(5) var<uniform> p: Params;
//!else
@group(0) @binding(3) var<storage, read_write> c: array<E>;
@group(0) @binding(4) var<uniform> p: Params;
//!end
//!end

fn put(image: u32, row: u32, quad: u32, sum: vec4<f32>) {
    let column = quad * 4u;
    if row >= p.m || column >= p.n {
        return;
    }
    let at = p.c_first + image * p.c_image + row * p.c_line + column / V;
//!if EPILOGUE == 0
    let value = p.scale * sum;
//!end
//!if EPILOGUE == 1
    let value = exp(p.scale * sum - rows[p.rows_first + image * p.m + row]);
//!end
//!if EPILOGUE == 2
    let value = p.scale * (sum - rows[p.rows_first + image * p.m + row]);
//!end
//!if EPILOGUE == 3
    let value = rows[p.rows_first + image * p.m + row] * sum;
//!end
//!if V == 4
//!if EPILOGUE == 2
    c[at] = weights[at] * value;
//!else
    c[at] = value;
//!end
//!else
//!for j in 0..4
    if column + $j < p.n {
//!if EPILOGUE == 2
        c[at + $j] = weights[at + $j] * value[$j];
//!else
        c[at + $j] = value[$j];
//!end
    }
//!end
//!end
}
