//! Sums and products element by element, with one number per image or per channel where shapes say so.

use super::{Tensor, assert_gradient};

/// a·alpha + b·beta.
pub fn add(a: &Tensor, alpha: f64, b: &Tensor, beta: f64) -> Tensor {
    a.zip(b, |a, b| a * alpha + b * beta)
}

/// The gradients of [`add`] by a and b.
pub fn add_backward(alpha: f64, beta: f64, grad_y: &Tensor) -> [Tensor; 2] {
    [grad_y.scaled(alpha), grad_y.scaled(beta)]
}

/// The gradients of a·b by a and b.
pub fn mul_backward(a: &Tensor, b: &Tensor, grad_y: &Tensor) -> [Tensor; 2] {
    [grad_y.times(b), grad_y.times(a)]
}

/// The gradients of a/b by a and b.
pub fn div_backward(a: &Tensor, b: &Tensor, grad_y: &Tensor) -> [Tensor; 2] {
    let by_b = a.zip(b, |a, b| -a / (b * b));
    [grad_y.zip(b, |g, b| g / b), grad_y.times(&by_b)]
}

/// One number of `per_image` (`n`) for every element of an image.
pub fn spread_images(per_image: &Tensor, shape: &[usize]) -> Tensor {
    let size: usize = shape[1..].iter().product();
    Tensor::new(shape, (0..shape[0] * size).map(|at| per_image.data[at / size]).collect())
}

/// One number of `per_channel` (`c`) for every pixel.
pub fn spread_channels(per_channel: &Tensor, shape: &[usize]) -> Tensor {
    let c = per_channel.data.len();
    Tensor::new(shape, (0..shape.iter().product()).map(|at| per_channel.data[at % c]).collect())
}

/// The gradient of [`spread_images`]: the sum over each image.
pub fn spread_images_backward(grad_y: &Tensor) -> Tensor {
    let size: usize = grad_y.shape[1..].iter().product();
    Tensor::new(&grad_y.shape[..1], grad_y.data.chunks(size).map(|image| image.iter().sum()).collect())
}

/// The gradient of [`spread_channels`]: the sum over images and pixels.
pub fn spread_channels_backward(grad_y: &Tensor) -> Tensor {
    let c = *grad_y.shape.last().unwrap();
    let mut grad = Tensor::zeros(&[c]);
    grad_y.data.iter().enumerate().for_each(|(at, value)| grad.data[at % c] += value);
    grad
}

#[test]
fn gradient_is_right() {
    let pair = [Tensor::normal(&[2, 3, 4], 1), Tensor::uniform(&[2, 3, 4], 0.5, 2.0, 2)];
    assert_gradient(&pair, |i| add(&i[0], 0.3, &i[1], -2.0), |_, g| add_backward(0.3, -2.0, g).to_vec());
    assert_gradient(&pair, |i| i[0].times(&i[1]), |i, g| mul_backward(&i[0], &i[1], g).to_vec());
    assert_gradient(&pair, |i| i[0].zip(&i[1], |a, b| a / b), |i, g| div_backward(&i[0], &i[1], g).to_vec());
    let shape = [2, 3, 4];
    let (images, channels) = ([Tensor::normal(&[2], 3)], [Tensor::normal(&[4], 4)]);
    assert_gradient(&images, |i| spread_images(&i[0], &shape), |_, g| vec![spread_images_backward(g)]);
    assert_gradient(&channels, |i| spread_channels(&i[0], &shape), |_, g| vec![spread_channels_backward(g)]);
}
