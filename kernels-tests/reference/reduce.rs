//! Sums over all elements or over each image (the first axis stays).

use super::{Tensor, assert_gradient, elementwise};

/// The sum over each image, `n`.
pub fn sum_per_image(x: &Tensor) -> Tensor {
    elementwise::spread_images_backward(x)
}

/// The sum of squares over each image, `n`.
pub fn sum_squares_per_image(x: &Tensor) -> Tensor {
    sum_per_image(&x.times(x))
}

/// The gradient of [`sum_per_image`].
pub fn sum_backward(shape: &[usize], grad_y: &Tensor) -> Tensor {
    elementwise::spread_images(grad_y, shape)
}

/// The gradient of [`sum_squares_per_image`].
pub fn sum_squares_backward(x: &Tensor, grad_y: &Tensor) -> Tensor {
    sum_backward(&x.shape, grad_y).times(x).scaled(2.0)
}

/// The sum of all elements, `1`.
pub fn sum_all(x: &Tensor) -> Tensor {
    Tensor::new(&[1], vec![x.sum()])
}

#[test]
fn gradient_is_right() {
    let x = [Tensor::normal(&[3, 2, 5], 1)];
    assert_gradient(&x, |i| sum_per_image(&i[0]), |i, g| vec![sum_backward(&i[0].shape, g)]);
    assert_gradient(&x, |i| sum_squares_per_image(&i[0]), |i, g| vec![sum_squares_backward(&i[0], g)]);
    assert_gradient(&x, |i| sum_all(&i[0]), |i, g| vec![Tensor::full(&i[0].shape, g.data[0])]);
}
