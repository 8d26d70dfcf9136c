//! Dropout with a given mask: kept elements are divided by the share that is kept.

use super::{Tensor, assert_gradient};

/// y = x · mask / (1 - p); `mask` holds zeros and ones.
pub fn forward(x: &Tensor, mask: &Tensor, p: f64) -> Tensor {
    x.times(mask).scaled(1.0 / (1.0 - p))
}

/// The gradient by x.
pub fn backward(mask: &Tensor, p: f64, grad_y: &Tensor) -> Tensor {
    forward(grad_y, mask, p)
}

#[test]
fn gradient_is_right() {
    let mask = Tensor::uniform(&[4, 6], 0.0, 1.0, 1).map(|u| if u < 0.9 { 1.0 } else { 0.0 });
    assert_gradient(
        &[Tensor::normal(&[4, 6], 2)],
        |i| forward(&i[0], &mask, 0.1),
        |_, g| vec![backward(&mask, 0.1, g)],
    );
}
