//! The norms of NCSN and NCSNv2 (Song and Ermon 2020): instance norm, its "++" form, variance norm.

use super::elementwise::spread_channels;
use super::group_norm::GroupNorm;
use super::{Tensor, assert_gradient};

/// Added to variances, as in the authors' code.
pub const NORM_EPS: f64 = 1e-5;

/// Instance norm without an affine map: every channel of every image by itself, biased variance.
pub fn plain(x: &Tensor, norm_eps: f64) -> Tensor {
    let c = x.nhwc()[3];
    norm(c, norm_eps).forward(x, &Tensor::full(&[c], 1.0), &Tensor::zeros(&[c]))
}

/// The gradient of [`plain`].
pub fn plain_backward(x: &Tensor, norm_eps: f64, grad_y: &Tensor) -> Tensor {
    let c = x.nhwc()[3];
    let [grad, _, _] = norm(c, norm_eps).backward(x, &Tensor::full(&[c], 1.0), &Tensor::zeros(&[c]), grad_y);
    grad
}

fn norm(groups: usize, norm_eps: f64) -> GroupNorm {
    GroupNorm { groups, norm_eps, silu: false }
}

/// The means of every channel, `n c`.
fn channel_means(x: &Tensor) -> Tensor {
    let [n, h, w, c] = x.nhwc();
    let mut means = Tensor::zeros(&[n, c]);
    for (at, value) in x.data.iter().enumerate() {
        means[[at / (h * w * c), at % c]] += value / (h * w) as f64;
    }
    means
}

/// The channel means, standardised over the channels of an image with the unbiased (c - 1) variance; and
/// 1/sqrt(variance + eps) of each image.
fn standardised(means: &Tensor) -> (Tensor, Vec<f64>) {
    let [_, c] = means.rows_cols();
    let (mut out, mut inverse) = (means.clone(), Vec::new());
    for row in out.data.chunks_mut(c) {
        let mean = row.iter().sum::<f64>() / c as f64;
        let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (c - 1) as f64;
        inverse.push(1.0 / (variance + NORM_EPS).sqrt());
        row.iter_mut().for_each(|v| *v = (*v - mean) / (variance + NORM_EPS).sqrt());
    }
    (out, inverse)
}

/// Instance norm++: gamma·(inorm(x) + alpha·standardised mean) + beta, where gamma, alpha and beta are `n c`. The
/// unconditional form gives every image the same row, the conditional one a row per label.
pub fn plus(x: &Tensor, gamma: &Tensor, alpha: &Tensor, beta: &Tensor) -> Tensor {
    let [_, h, w, c] = x.nhwc();
    let (means, _) = standardised(&channel_means(x));
    let mut y = plain(x, NORM_EPS);
    for (at, value) in y.data.iter_mut().enumerate() {
        let row = at / (h * w * c) * c + at % c;
        *value = gamma.data[row] * (*value + alpha.data[row] * means.data[row]) + beta.data[row];
    }
    y
}

/// The gradients of [`plus`] by x, gamma, alpha and beta (each `n c`).
pub fn plus_backward(x: &Tensor, gamma: &Tensor, alpha: &Tensor, grad_y: &Tensor) -> [Tensor; 4] {
    let [n, h, w, c] = x.nhwc();
    let (means, inverse) = standardised(&channel_means(x));
    let normed = plain(x, NORM_EPS);
    let zeros = || Tensor::zeros(&[n, c]);
    let (mut grad_gamma, mut grad_alpha, mut grad_beta, mut grad_means) =
        (zeros(), zeros(), zeros(), zeros());
    let mut grad_normed = grad_y.clone();
    for (at, g) in grad_y.data.iter().enumerate() {
        let row = at / (h * w * c) * c + at % c;
        grad_beta.data[row] += g;
        grad_gamma.data[row] += g * (normed.data[at] + alpha.data[row] * means.data[row]);
        grad_alpha.data[row] += g * gamma.data[row] * means.data[row];
        grad_means.data[row] += g * gamma.data[row] * alpha.data[row];
        grad_normed.data[at] = g * gamma.data[row];
    }
    // Back through the standardisation of the means.
    for (image, row) in grad_means.data.chunks_mut(c).enumerate() {
        let standard = &means.data[image * c..(image + 1) * c];
        let mean = row.iter().sum::<f64>() / c as f64;
        let dot = row.iter().zip(standard).map(|(g, s)| g * s).sum::<f64>() / (c - 1) as f64;
        row.iter_mut().zip(standard).for_each(|(g, s)| *g = inverse[image] * (*g - mean - s * dot));
    }
    let mut grad_x = plain_backward(x, NORM_EPS, &grad_normed);
    for (at, value) in grad_x.data.iter_mut().enumerate() {
        *value += grad_means.data[at / (h * w * c) * c + at % c] / (h * w) as f64;
    }
    [grad_x, grad_gamma, grad_alpha, grad_beta]
}

/// Variance norm: alpha·x/sqrt(var + eps) with the unbiased variance of every channel; the mean stays. `alpha` is `c`.
pub fn variance(x: &Tensor, alpha: &Tensor) -> Tensor {
    let (scale, _) = variance_scale(x);
    let [_, h, w, c] = x.nhwc();
    let mut y = x.times(&spread_channels(alpha, &x.shape));
    y.data.iter_mut().enumerate().for_each(|(at, v)| *v *= scale.data[at / (h * w * c) * c + at % c]);
    y
}

/// 1/sqrt(unbiased variance + eps) and the mean of every channel, both `n c`.
fn variance_scale(x: &Tensor) -> (Tensor, Tensor) {
    let [n, h, w, c] = x.nhwc();
    let means = channel_means(x);
    let mut variance = Tensor::zeros(&[n, c]);
    for (at, value) in x.data.iter().enumerate() {
        let row = at / (h * w * c) * c + at % c;
        variance.data[row] += (value - means.data[row]).powi(2) / (h * w - 1) as f64;
    }
    (variance.map(|v| 1.0 / (v + NORM_EPS).sqrt()), means)
}

/// The gradients of [`variance`] by x and alpha.
pub fn variance_backward(x: &Tensor, alpha: &Tensor, grad_y: &Tensor) -> [Tensor; 2] {
    let [n, h, w, c] = x.nhwc();
    let (scale, means) = variance_scale(x);
    let mut grad_alpha = Tensor::zeros(&[c]);
    let mut dot = Tensor::zeros(&[n, c]);
    let row = |at: usize| at / (h * w * c) * c + at % c;
    for (at, g) in grad_y.data.iter().enumerate() {
        grad_alpha.data[at % c] += g * x.data[at] * scale.data[row(at)];
        dot.data[row(at)] += g * alpha.data[at % c] * x.data[at];
    }
    let mut grad_x = grad_y.clone();
    for (at, value) in grad_x.data.iter_mut().enumerate() {
        let (s, centred) = (scale.data[row(at)], x.data[at] - means.data[row(at)]);
        let through_variance = dot.data[row(at)] * s.powi(3) * centred / (h * w - 1) as f64;
        *value = *value * alpha.data[at % c] * s - through_variance;
    }
    [grad_x, grad_alpha]
}

#[test]
fn gradient_is_right() {
    let x = Tensor::normal(&[2, 3, 2, 4], 1);
    let rows = [2, 3, 4].map(|seed| Tensor::normal(&[2, 4], seed));
    for norm_eps in [NORM_EPS, 10.0] {
        assert_gradient(
            std::slice::from_ref(&x),
            |i| plain(&i[0], norm_eps),
            |i, g| vec![plain_backward(&i[0], norm_eps, g)],
        );
    }
    let inputs = [&[x.clone()][..], &rows].concat();
    assert_gradient(
        &inputs,
        |i| plus(&i[0], &i[1], &i[2], &i[3]),
        |i, g| plus_backward(&i[0], &i[1], &i[2], g).to_vec(),
    );
    assert_gradient(
        &[x, Tensor::normal(&[4], 5)],
        |i| variance(&i[0], &i[1]),
        |i, g| variance_backward(&i[0], &i[1], g).to_vec(),
    );
}
