//! Self-attention of one head: y = softmax(q·kᵀ · scale)·v, each image by itself.

use super::{Tensor, assert_gradient, softmax};

/// One image's matrix `s c` of a tensor `n s c`.
fn image(t: &Tensor, b: usize) -> Tensor {
    let [_, s, c]: [usize; 3] = t.shape.as_slice().try_into().expect("n s c");
    Tensor::new(&[s, c], t.data[b * s * c..(b + 1) * s * c].to_vec())
}

/// a·b where `a` is `m k` and `b` is `k n`.
fn matmul(a: &Tensor, b: &Tensor) -> Tensor {
    let ([m, k], [_, n]) = (a.rows_cols(), b.rows_cols());
    let mut out = Tensor::zeros(&[m, n]);
    for i in 0..m {
        for l in 0..k {
            let factor = a.data[i * k + l];
            for j in 0..n {
                out.data[i * n + j] += factor * b.data[l * n + j];
            }
        }
    }
    out
}

fn transpose(a: &Tensor) -> Tensor {
    let [m, n] = a.rows_cols();
    Tensor::new(&[n, m], (0..m * n).map(|at| a.data[at % m * n + at / m]).collect())
}

fn weights(q: &Tensor, k: &Tensor, scale: f64) -> Tensor {
    softmax::forward(&matmul(q, &transpose(k)).scaled(scale))
}

/// q, k, v and the result are `n s c`, s positions of c channels.
pub fn forward(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64) -> Tensor {
    let one = |b: usize| matmul(&weights(&image(q, b), &image(k, b), scale), &image(v, b)).data;
    Tensor::new(&q.shape, (0..q.shape[0]).flat_map(one).collect())
}

/// The gradients by q, k and v.
pub fn backward(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64, grad_y: &Tensor) -> [Tensor; 3] {
    let mut grads = [Vec::new(), Vec::new(), Vec::new()];
    for b in 0..q.shape[0] {
        let (q, k, v, g) = (image(q, b), image(k, b), image(v, b), image(grad_y, b));
        let p = weights(&q, &k, scale);
        let grad_logits = softmax::backward(&p, &matmul(&g, &transpose(&v))).scaled(scale);
        grads[0].extend(matmul(&grad_logits, &k).data);
        grads[1].extend(matmul(&transpose(&grad_logits), &q).data);
        grads[2].extend(matmul(&transpose(&p), &g).data);
    }
    grads.map(|data| Tensor::new(&q.shape, data))
}

#[test]
fn gradient_is_right() {
    let inputs = [1, 2, 3].map(|seed| Tensor::normal(&[2, 5, 3], seed));
    assert_gradient(
        &inputs,
        |i| forward(&i[0], &i[1], &i[2], 0.6),
        |i, g| backward(&i[0], &i[1], &i[2], 0.6, g).to_vec(),
    );
}

/// Equal keys give every position the mean of the values.
#[test]
fn equal_keys_average() {
    let (q, v) = (Tensor::normal(&[1, 4, 2], 1), Tensor::normal(&[1, 4, 2], 2));
    let y = forward(&q, &Tensor::full(&[1, 4, 2], 0.3), &v, 1.0);
    let mean = |ch: usize| (0..4).map(|s| v[[0, s, ch]]).sum::<f64>() / 4.0;
    assert!(y.data.iter().enumerate().all(|(at, value)| (value - mean(at % 2)).abs() < 1e-12));
}
