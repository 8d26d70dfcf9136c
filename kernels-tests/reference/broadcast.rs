//! One number for a whole image.

use super::{Tensor, assert_gradient, elementwise};

/// Σ x·s[image] over pairs of an `n …` and an `n`.
pub fn combine_images(terms: &[(&Tensor, &Tensor, f64)]) -> Tensor {
    let zeros = Tensor::zeros(&terms[0].0.shape);
    terms
        .iter()
        .fold(zeros, |sum, (x, s, k)| sum.plus(&x.times(&elementwise::spread_images(s, &x.shape)).scaled(*k)))
}

/// The gradients of k·x·s[image] by x and s.
pub fn scale_backward(x: &Tensor, s: &Tensor, k: f64, grad_y: &Tensor) -> [Tensor; 2] {
    let by_s = elementwise::spread_images_backward(&grad_y.times(x)).scaled(k);
    [combine_images(&[(grad_y, s, k)]), by_s]
}

#[test]
fn gradient_is_right() {
    let pair = [Tensor::normal(&[2, 3, 4], 1), Tensor::normal(&[2], 2)];
    assert_gradient(
        &pair,
        |i| combine_images(&[(&i[0], &i[1], 0.7)]),
        |i, g| scale_backward(&i[0], &i[1], 0.7, g).to_vec(),
    );
}
