//! Group normalisation (Wu and He 2018) with its affine map, and SiLU after it where asked for.

use super::activation::Activation;
use super::{Tensor, assert_gradient};

/// What is fixed when the op is traced.
#[derive(Clone, Copy, Debug)]
pub struct GroupNorm {
    /// Groups of neighbouring channels.
    pub groups: usize,
    /// Added to the variance.
    pub norm_eps: f64,
    /// Whether y = silu(affine(norm(x))).
    pub silu: bool,
}

impl GroupNorm {
    /// (image, group) of a flat index into `n h w c`.
    fn group(&self, at: usize, [_, h, w, c]: [usize; 4]) -> (usize, usize) {
        (at / (h * w * c), at % c / (c / self.groups))
    }

    /// Mean and 1/sqrt(variance + eps) of every image and group, `n groups`; the variance is the biased one.
    pub fn statistics(&self, x: &Tensor) -> (Tensor, Tensor) {
        let [n, h, w, c] = x.nhwc();
        let count = (h * w * (c / self.groups)) as f64;
        let mut mean = Tensor::zeros(&[n, self.groups]);
        for (at, value) in x.data.iter().enumerate() {
            let (b, g) = self.group(at, x.nhwc());
            mean[[b, g]] += value / count;
        }
        let mut variance = Tensor::zeros(&[n, self.groups]);
        for (at, value) in x.data.iter().enumerate() {
            let (b, g) = self.group(at, x.nhwc());
            variance[[b, g]] += (value - mean[[b, g]]).powi(2) / count;
        }
        (mean, variance.map(|v| 1.0 / (v + self.norm_eps).sqrt()))
    }

    fn normalised(&self, x: &Tensor) -> Tensor {
        let (mean, inverse) = self.statistics(x);
        let mut out = x.clone();
        for (at, value) in out.data.iter_mut().enumerate() {
            let (b, g) = self.group(at, x.nhwc());
            *value = (*value - mean[[b, g]]) * inverse[[b, g]];
        }
        out
    }

    /// `x` is `n h w c`, `gamma` and `beta` are `c`.
    pub fn forward(&self, x: &Tensor, gamma: &Tensor, beta: &Tensor) -> Tensor {
        let c = x.nhwc()[3];
        let mut y = self.normalised(x);
        for (at, value) in y.data.iter_mut().enumerate() {
            let affine = *value * gamma.data[at % c] + beta.data[at % c];
            *value = if self.silu { Activation::Silu.of(affine) } else { affine };
        }
        y
    }

    /// The gradients by x, gamma and beta.
    pub fn backward(&self, x: &Tensor, gamma: &Tensor, beta: &Tensor, grad_y: &Tensor) -> [Tensor; 3] {
        let [n, h, w, c] = x.nhwc();
        let count = (h * w * (c / self.groups)) as f64;
        let normalised = self.normalised(x);
        let (_, inverse) = self.statistics(x);
        let (mut grad_gamma, mut grad_beta) = (Tensor::zeros(&[c]), Tensor::zeros(&[c]));
        // By the normalised value, and its two means over the group.
        let mut grad = grad_y.clone();
        let (mut mean, mut mean_times) = (Tensor::zeros(&[n, self.groups]), Tensor::zeros(&[n, self.groups]));
        for at in 0..grad.data.len() {
            let (channel, value) = (at % c, normalised.data[at]);
            if self.silu {
                grad.data[at] *= Activation::Silu.slope(value * gamma.data[channel] + beta.data[channel]);
            }
            grad_gamma.data[channel] += grad.data[at] * value;
            grad_beta.data[channel] += grad.data[at];
            grad.data[at] *= gamma.data[channel];
            let (b, g) = self.group(at, x.nhwc());
            mean[[b, g]] += grad.data[at] / count;
            mean_times[[b, g]] += grad.data[at] * value / count;
        }
        for at in 0..grad.data.len() {
            let (b, g) = self.group(at, x.nhwc());
            let centred = grad.data[at] - mean[[b, g]] - normalised.data[at] * mean_times[[b, g]];
            grad.data[at] = centred * inverse[[b, g]];
        }
        [grad, grad_gamma, grad_beta]
    }
}

#[test]
fn gradient_is_right() {
    for (groups, silu) in [(1, false), (2, true), (6, false), (3, true)] {
        let norm = GroupNorm { groups, norm_eps: 1e-6, silu };
        let inputs = [Tensor::normal(&[2, 2, 3, 6], 1), Tensor::normal(&[6], 2), Tensor::normal(&[6], 3)];
        assert_gradient(
            &inputs,
            |i| norm.forward(&i[0], &i[1], &i[2]),
            |i, g| norm.backward(&i[0], &i[1], &i[2], g).to_vec(),
        );
    }
}

#[test]
fn output_is_normalised() {
    let norm = GroupNorm { groups: 2, norm_eps: 0.0, silu: false };
    let y = norm.forward(&Tensor::normal(&[3, 4, 4, 8], 1), &Tensor::full(&[8], 1.0), &Tensor::zeros(&[8]));
    let (mean, inverse) = norm.statistics(&y);
    assert!(
        mean.data.iter().all(|m| m.abs() < 1e-12) && inverse.data.iter().all(|i| (i - 1.0).abs() < 1e-12)
    );
}
