//! Softmax over the last axis.

use super::{Tensor, assert_gradient};

/// exp(x) / sum exp(x) of each row of the last axis.
pub fn forward(x: &Tensor) -> Tensor {
    let row = |row: &[f64]| -> Vec<f64> {
        let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let exps: Vec<f64> = row.iter().map(|v| (v - max).exp()).collect();
        let sum: f64 = exps.iter().sum();
        exps.iter().map(|e| e / sum).collect()
    };
    Tensor::new(&x.shape, x.data.chunks(*x.shape.last().unwrap()).flat_map(row).collect())
}

/// The gradient by x from the output: y · (grad_y - sum(grad_y · y)).
pub fn backward(y: &Tensor, grad_y: &Tensor) -> Tensor {
    let cols = *y.shape.last().unwrap();
    let rows = y.data.chunks(cols).zip(grad_y.data.chunks(cols));
    let row = |(y, g): (&[f64], &[f64])| -> Vec<f64> {
        let dot: f64 = y.iter().zip(g).map(|(y, g)| y * g).sum();
        y.iter().zip(g).map(|(y, g)| y * (g - dot)).collect()
    };
    Tensor::new(&y.shape, rows.flat_map(row).collect())
}

#[test]
fn gradient_is_right() {
    let x = [Tensor::normal(&[3, 7], 1)];
    assert_gradient(&x, |i| forward(&i[0]), |i, g| vec![backward(&forward(&i[0]), g)]);
}

#[test]
fn large_logits_stay_finite() {
    let y = forward(&Tensor::new(&[1, 3], vec![1e4, 1e4, -1e4]));
    assert_eq!(y.data, [0.5, 0.5, 0.0]);
}
