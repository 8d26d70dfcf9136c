//! The authors' activations.

use super::{Tensor, assert_gradient};

/// A function applied to every element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// x·sigmoid(x), called swish by the authors.
    Silu,
    /// x above zero, exp(x) - 1 below.
    Elu,
    /// x above zero, 0 below.
    Relu,
    /// x above zero, 0.2·x below.
    LeakyRelu,
}

/// The slope of the authors' `lrelu` below zero.
const LEAK: f64 = 0.2;

impl Activation {
    /// The function.
    pub fn of(self, x: f64) -> f64 {
        match self {
            Self::Silu => x * sigmoid(x),
            Self::Elu if x > 0.0 => x,
            Self::Elu => x.exp_m1(),
            Self::Relu => x.max(0.0),
            Self::LeakyRelu => {
                if x > 0.0 {
                    x
                } else {
                    LEAK * x
                }
            }
        }
    }

    /// Its derivative; at the kink of ReLU the left one, as in PyTorch.
    pub fn slope(self, x: f64) -> f64 {
        match self {
            Self::Silu => sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x))),
            Self::Elu => {
                if x > 0.0 {
                    1.0
                } else {
                    x.exp()
                }
            }
            Self::Relu => {
                if x > 0.0 {
                    1.0
                } else {
                    0.0
                }
            }
            Self::LeakyRelu => {
                if x > 0.0 {
                    1.0
                } else {
                    LEAK
                }
            }
        }
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// y = f(x).
pub fn forward(f: Activation, x: &Tensor) -> Tensor {
    x.map(|v| f.of(v))
}

/// grad_x = grad_y · f'(x).
pub fn backward(f: Activation, x: &Tensor, grad_y: &Tensor) -> Tensor {
    x.zip(grad_y, |v, g| g * f.slope(v))
}

#[test]
fn gradient_is_right() {
    for f in [Activation::Silu, Activation::Elu, Activation::Relu, Activation::LeakyRelu] {
        assert_gradient(
            &[Tensor::normal(&[3, 17], 1)],
            |i| forward(f, &i[0]),
            |i, g| vec![backward(f, &i[0], g)],
        );
    }
}
