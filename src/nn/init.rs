//! Initial values of parameters, as the authors draw them.

use crate::random::Stream;

/// What the numbers of initial weights are for, so that no other stream of the same seed meets them.
const PURPOSE: u32 = 0x1417_0001;

/// How a parameter begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// One number everywhere.
    Constant(f64),
    /// Uniform in (-bound, bound).
    Uniform {
        /// The bound.
        bound: f64,
    },
    /// Normal.
    Normal {
        /// The mean.
        mean: f64,
        /// The standard deviation.
        std: f64,
    },
    /// Rows of a conditional instance norm++: gamma and alpha normal around 1, beta zero.
    ConditionalNorm,
}

impl Init {
    /// Variance scaling with `fan_avg`, uniform (`default_init` of the authors): the variance is `scale` over the mean of
    /// both fans. A scale of 0 stands for 1e-10.
    pub fn variance_scaling(scale: f64, fan_in: usize, fan_out: usize) -> Self {
        let scale = if scale == 0.0 { 1e-10 } else { scale };
        let fan_avg = (fan_in + fan_out) as f64 / 2.0;
        Self::Uniform { bound: (3.0 * scale / fan_avg).sqrt() }
    }

    /// PyTorch's default for convolutions and their biases: uniform within 1/sqrt(fan_in).
    pub fn torch_default(fan_in: usize) -> Self {
        Self::Uniform { bound: 1.0 / (fan_in as f64).sqrt() }
    }

    /// The values of parameter number `index` of a network under `seed`, row-major. Each parameter has a stream of its own.
    pub fn draw(self, shape: &[usize], seed: u64, index: u32) -> Vec<f32> {
        let n: usize = shape.iter().product();
        let mut stream = Stream::new(seed, PURPOSE, index);
        match self {
            Self::Constant(value) => vec![value as f32; n],
            Self::Uniform { bound } => {
                (0..n).map(|_| ((2.0 * stream.uniform() - 1.0) * bound) as f32).collect()
            }
            Self::Normal { mean, std } => (0..n).map(|_| (mean + std * stream.normal()) as f32).collect(),
            Self::ConditionalNorm => {
                let row = shape.last().copied().unwrap_or(1);
                let drawn = |i: usize| i % row < row / 3 * 2;
                (0..n).map(|i| if drawn(i) { (1.0 + 0.02 * stream.normal()) as f32 } else { 0.0 }).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rms(values: &[f32]) -> f64 {
        (values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
    }

    #[test]
    fn variance_scaling_has_its_variance_and_bound() {
        // A 3x3 convolution of 32 to 64 channels: variance 2 / (9 * (32 + 64)).
        let values = Init::variance_scaling(1.0, 9 * 32, 9 * 64).draw(&[64, 32, 3, 3], 1, 0);
        let std = (2.0f64 / (9.0 * 96.0)).sqrt();
        assert!((rms(&values) / std - 1.0).abs() < 0.02);
        assert!(values.iter().all(|v| f64::from(v.abs()) <= 3f64.sqrt() * std));
        assert!(rms(&Init::variance_scaling(0.0, 32, 32).draw(&[32, 32], 1, 0)) < 1e-5);
    }

    #[test]
    fn parameters_and_seeds_have_streams_of_their_own() {
        let init = Init::Normal { mean: 0.0, std: 1.0 };
        assert_eq!(init.draw(&[4], 1, 0), init.draw(&[4], 1, 0));
        assert_ne!(init.draw(&[4], 1, 0), init.draw(&[4], 1, 1));
        assert_ne!(init.draw(&[4], 1, 0), init.draw(&[4], 2, 0));
    }

    #[test]
    fn rows_of_a_conditional_norm_end_in_zeros() {
        let values = Init::ConditionalNorm.draw(&[5, 12], 3, 0);
        for row in values.chunks(12) {
            assert!(row[..8].iter().all(|v| (v - 1.0).abs() < 0.2) && row[8..].iter().all(|v| *v == 0.0));
        }
    }
}
