//! One over each element, bounded.

use super::{Tensor, assert_gradient};

/// `1/max(x, floor)`.
pub fn forward(x: &Tensor, floor: f64) -> Tensor {
    Tensor::new(&x.shape, x.data.iter().map(|x| 1.0 / x.max(floor)).collect())
}

/// The gradient of [`forward`]; 0 where the floor holds.
pub fn backward(x: &Tensor, floor: f64, grad_y: &Tensor) -> Tensor {
    let slope = |x: f64| if x > floor { -1.0 / (x * x) } else { 0.0 };
    Tensor::new(&x.shape, x.data.iter().zip(&grad_y.data).map(|(&x, g)| g * slope(x)).collect())
}

#[test]
fn gradient_is_right() {
    let x = Tensor::new(&[4], vec![0.3, -1.0, 2.0, 0.7]);
    assert_gradient(&[x], |i| forward(&i[0], 0.5), |i, g| vec![backward(&i[0], 0.5, g)]);
}
