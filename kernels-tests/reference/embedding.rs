//! Embeddings of time: Gaussian Fourier features and sinusoidal positions.

use std::f64::consts::TAU;

use super::{Tensor, assert_gradient};

/// sin and cos of 2π·x·W side by side: `x` is `n`, `weight` is `m`, the result `n 2m` (Tancik et al. 2020).
pub fn gaussian_fourier(x: &Tensor, weight: &Tensor) -> Tensor {
    let angles = |x: f64| weight.data.iter().map(move |w| TAU * x * w);
    let row = |&x: &f64| angles(x).map(f64::sin).chain(angles(x).map(f64::cos)).collect::<Vec<f64>>();
    Tensor::new(&[x.data.len(), 2 * weight.data.len()], x.data.iter().flat_map(row).collect())
}

/// The gradient of [`gaussian_fourier`] by x; the weight is not trained.
pub fn gaussian_fourier_backward(x: &Tensor, weight: &Tensor, grad_y: &Tensor) -> Tensor {
    let m = weight.data.len();
    let one = |(&x, g): (&f64, &[f64])| {
        let term = |i: usize| {
            let (sin, cos) = (TAU * x * weight.data[i]).sin_cos();
            TAU * weight.data[i] * (g[i] * cos - g[m + i] * sin)
        };
        (0..m).map(term).sum::<f64>()
    };
    Tensor::new(&x.shape, x.data.iter().zip(grad_y.data.chunks(2 * m)).map(one).collect())
}

/// sin and cos of t·10000^(-i/(half-shift)) side by side, a zero behind them if `dim` is odd (Vaswani et al. 2017, as in
/// the authors' code): `t` is `n`, the result `n dim`.
pub fn positional(t: &Tensor, dim: usize, shift: f64) -> Tensor {
    let half = dim / 2;
    let angle = |t: f64, i: usize| t * frequency(half, shift, i);
    let row = |&t: &f64| -> Vec<f64> {
        let sin = (0..half).map(|i| angle(t, i).sin());
        let cos = (0..half).map(|i| angle(t, i).cos());
        sin.chain(cos).chain((0..dim % 2).map(|_| 0.0)).collect()
    };
    Tensor::new(&[t.data.len(), dim], t.data.iter().flat_map(row).collect())
}

/// Frequency i of `half`, in radians.
fn frequency(half: usize, shift: f64, i: usize) -> f64 {
    (-(10_000_f64.ln()) * i as f64 / (half as f64 - shift)).exp()
}

/// The gradient of [`positional`] by t.
pub fn positional_backward(t: &Tensor, dim: usize, shift: f64, grad_y: &Tensor) -> Tensor {
    let half = dim / 2;
    let one = |(&t, g): (&f64, &[f64])| {
        let term = |i: usize| {
            let (sin, cos) = (t * frequency(half, shift, i)).sin_cos();
            frequency(half, shift, i) * (g[i] * cos - g[half + i] * sin)
        };
        (0..half).map(term).sum::<f64>()
    };
    Tensor::new(&t.shape, t.data.iter().zip(grad_y.data.chunks(dim)).map(one).collect())
}

#[test]
fn gradient_is_right() {
    let weight = Tensor::normal(&[4], 1);
    assert_gradient(
        &[Tensor::normal(&[3], 2)],
        |i| gaussian_fourier(&i[0], &weight),
        |i, g| vec![gaussian_fourier_backward(&i[0], &weight, g)],
    );
    let t = [Tensor::uniform(&[3], 0.0, 5.0, 3)];
    assert_gradient(&t, |i| positional(&i[0], 9, 1.0), |i, g| vec![positional_backward(&i[0], 9, 1.0, g)]);
}

#[test]
fn odd_positions_end_in_zero() {
    let y = positional(&Tensor::new(&[1], vec![0.0]), 5, 1.0);
    assert_eq!(y.data, [0.0, 0.0, 1.0, 1.0, 0.0]);
}
