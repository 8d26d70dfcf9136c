//! Adam (Kingma and Ba 2015) as PyTorch computes it, with L2 weight decay added to the gradient.

use super::Tensor;

/// What an optimizer step needs besides the tensors.
#[derive(Clone, Copy, Debug)]
pub struct Adam {
    /// Learning rate of this step, warm-up included.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Factor of the parameter in the gradient.
    pub weight_decay: f64,
}

/// One parameter with its two moments.
#[derive(Clone, Debug)]
pub struct State {
    /// The parameter.
    pub param: Tensor,
    /// Running mean of the gradient.
    pub m: Tensor,
    /// Running mean of its square.
    pub v: Tensor,
}

impl Adam {
    /// Update number `step`, counted from 1, with the gradient times `coefficient` (from clipping).
    pub fn update(&self, state: &State, grad: &Tensor, coefficient: f64, step: i32) -> State {
        let grad = grad.zip(&state.param, |g, p| g * coefficient + self.weight_decay * p);
        let m = state.m.zip(&grad, |m, g| self.beta1 * m + (1.0 - self.beta1) * g);
        let v = state.v.zip(&grad, |v, g| self.beta2 * v + (1.0 - self.beta2) * g * g);
        let (bias1, bias2) = (1.0 - self.beta1.powi(step), 1.0 - self.beta2.powi(step));
        let moved = m.zip(&v, |m, v| self.lr / bias1 * m / ((v / bias2).sqrt() + self.eps));
        State { param: state.param.zip(&moved, |p, d| p - d), m, v }
    }
}

/// The authors' warm-up: `step` counts from 0, so that the very first update has learning rate 0.
pub fn warmed_up(lr: f64, step: u64, warmup: u64) -> f64 {
    if warmup == 0 { lr } else { lr * (step as f64 / warmup as f64).min(1.0) }
}

/// Whatever the gradient's size, the first step moves every parameter by lr against its sign.
#[test]
fn first_step_is_lr() {
    let adam = Adam { lr: 0.1, beta1: 0.9, beta2: 0.999, eps: 1e-12, weight_decay: 0.0 };
    let zeros = Tensor::zeros(&[4]);
    let state = State { param: zeros.clone(), m: zeros.clone(), v: zeros };
    let after = adam.update(&state, &Tensor::new(&[4], vec![1e-3, -5.0, 7.0, -1e3]), 1.0, 1);
    let expected = [-0.1, 0.1, -0.1, 0.1];
    assert!(after.param.data.iter().zip(expected).all(|(p, e)| (p - e).abs() < 1e-9));
}

/// Steps of Adam on x² come to rest at zero.
#[test]
fn finds_a_minimum() {
    let adam = Adam { lr: 0.05, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 };
    let zeros = Tensor::zeros(&[2]);
    let mut state = State { param: Tensor::new(&[2], vec![1.0, -2.0]), m: zeros.clone(), v: zeros };
    for step in 1..=2000 {
        let grad = state.param.scaled(2.0);
        state = adam.update(&state, &grad, 1.0, step);
    }
    assert!(state.param.data.iter().all(|p| p.abs() < 1e-3));
}

#[test]
fn warm_up_begins_at_zero() {
    assert_eq!([0, 5, 10, 20].map(|step| warmed_up(2.0, step, 10)), [0.0, 1.0, 2.0, 2.0]);
    assert_eq!(warmed_up(2.0, 0, 0), 2.0);
}
