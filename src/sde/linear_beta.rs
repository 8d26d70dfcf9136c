//! β(t) = β_min + t (β_max − β_min), which VP and sub-VP share, and DDPM's chain made from it.

use super::{Conditioning, LinearStep, Marginal, SdeParameters, TimeConditioning, check_n, grid};
use crate::{Error, Result};

/// The linear noise schedule of VP and sub-VP.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinearBeta {
    beta_min: f64,
    beta_max: f64,
    n: usize,
}

impl Default for LinearBeta {
    /// The authors': β from 0.1 to 20, N = 1000.
    fn default() -> Self {
        Self { beta_min: 0.1, beta_max: 20.0, n: 1000 }
    }
}

impl LinearBeta {
    /// β from `beta_min` at t = 0 to `beta_max` at t = 1, cut into `n` steps.
    /// Fails unless 0 < beta_min ≤ beta_max < ∞ and `n` ≥ 1.
    pub fn new(beta_min: f64, beta_max: f64, n: usize) -> Result<Self> {
        if !(beta_min.is_finite() && beta_min > 0.0) {
            return Err(Error::invalid("model.beta_min", beta_min, "β starts above 0"));
        }
        if !(beta_max.is_finite() && beta_max >= beta_min) {
            return Err(Error::invalid(
                "model.beta_max",
                beta_max,
                format!("β ends at or above beta_min = {beta_min}"),
            ));
        }
        check_n(n)?;
        Ok(Self { beta_min, beta_max, n })
    }

    /// Its constants.
    pub(super) fn parameters(&self) -> SdeParameters {
        let Self { beta_min, beta_max, n } = *self;
        SdeParameters { beta_min, beta_max, n, ..SdeParameters::default() }
    }

    /// N, the number of steps of the chain.
    pub fn n(&self) -> usize {
        self.n
    }

    /// The same schedule cut into `n` steps.
    pub fn with_n(&self, n: usize) -> Result<Self> {
        Self::new(self.beta_min, self.beta_max, n)
    }

    /// β(t).
    pub fn beta(&self, t: f64) -> f64 {
        self.beta_min + t * (self.beta_max - self.beta_min)
    }

    /// ln of the factor of x_0 in x_t: m(t) = −∫₀ᵗ β/2.
    pub fn log_mean_coeff(&self, t: f64) -> f64 {
        -0.25 * t * t * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min
    }

    /// The t at which [`LinearBeta::log_mean_coeff`] is −`m`, for `m` ≥ 0.
    pub fn time_of_log_mean_coeff(&self, m: f64) -> f64 {
        // The positive root of ¼(b1−b0)t² + ½b0 t = m, in the form that does not cancel for small m or b1 = b0.
        let slope = self.beta_max - self.beta_min;
        4.0 * m / (self.beta_min + (self.beta_min * self.beta_min + 4.0 * slope * m).sqrt())
    }

    /// β_i of the chain, i in 0..N: from β_min/N to β_max/N.
    pub fn discrete_beta(&self, i: usize) -> f64 {
        let share = if self.n > 1 { i as f64 / (self.n - 1) as f64 } else { 0.0 };
        self.beta(share) / self.n as f64
    }

    /// All β_i. N entries.
    pub fn discrete_betas(&self) -> Vec<f64> {
        (0..self.n).map(|i| self.discrete_beta(i)).collect()
    }

    /// α_i = 1 − β_i. N entries.
    pub fn alphas(&self) -> Vec<f64> {
        (0..self.n).map(|i| 1.0 - self.discrete_beta(i)).collect()
    }

    /// Products of α_0 to α_i. N entries.
    pub fn alphas_cumprod(&self) -> Vec<f64> {
        self.log_alphas_cumprod().map(f64::exp).collect()
    }

    /// Square roots of [`LinearBeta::alphas_cumprod`]. N entries.
    pub fn sqrt_alphas_cumprod(&self) -> Vec<f64> {
        self.log_alphas_cumprod().map(|l| (0.5 * l).exp()).collect()
    }

    /// The standard deviations of the chain's marginals, sqrt(1 − alphas_cumprod). N entries.
    pub fn sqrt_1m_alphas_cumprod(&self) -> Vec<f64> {
        self.log_alphas_cumprod().map(|l| (-l.exp_m1()).sqrt()).collect()
    }

    fn log_alphas_cumprod(&self) -> impl Iterator<Item = f64> + '_ {
        (0..self.n).scan(0.0, |sum, i| {
            *sum += (-self.discrete_beta(i)).ln_1p();
            Some(*sum)
        })
    }

    /// DDPM's ancestral step at index `i`: x_mean = (x + β score)/√(1−β), noise √β.
    pub(super) fn ancestral(&self, i: usize) -> LinearStep {
        let beta = self.discrete_beta(i);
        let scale = 1.0 / (1.0 - beta).sqrt();
        LinearStep { x: scale, score: beta * scale, noise: beta.sqrt() }
    }

    /// A discretely trained model is told t·(levels−1) and divided by the chain's standard deviation there.
    pub(super) fn discrete_conditioning(&self, t: f64, levels: usize) -> Conditioning {
        let levels = levels.max(1);
        let index = grid::index(t, levels);
        let chain = Self { n: levels, ..*self };
        // Only the prefix up to the index is summed: this is called once a step.
        let log = chain.log_alphas_cumprod().nth(index).unwrap_or(f64::NEG_INFINITY);
        Conditioning {
            argument: t * (levels - 1) as f64,
            score_scale: -1.0 / (-log.exp_m1()).sqrt(),
            x_scale: 0.0,
        }
    }

    /// A continuously trained model is told t·999 and divided by the marginal standard deviation `std`.
    pub(super) fn continuous_conditioning(t: f64, std: f64) -> Conditioning {
        Conditioning { argument: t * 999.0, score_scale: -1.0 / std, x_scale: 0.0 }
    }

    pub(super) fn conditioning(&self, t: f64, marginal: Marginal, time: TimeConditioning) -> Conditioning {
        match time {
            TimeConditioning::Stated { argument, prediction } => {
                Conditioning::stated(t, marginal, argument, prediction)
            }
            TimeConditioning::Continuous => Self::continuous_conditioning(t, marginal.std),
            TimeConditioning::Discrete { levels } => self.discrete_conditioning(t, levels),
        }
    }
}

/// What VP and sub-VP have in common: the type over its schedule, and with `steps` the methods of [`Sde`](super::Sde) that only ask for it.
macro_rules! of_linear_beta {
    ($(#[$doc:meta])* struct $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq)]
        pub struct $name(LinearBeta);

        impl $name {
            /// β from `beta_min` at t = 0 to `beta_max` at t = 1, `n` steps. Fails as [`LinearBeta::new`] does.
            pub fn new(beta_min: f64, beta_max: f64, n: usize) -> crate::Result<Self> {
                Ok(Self(LinearBeta::new(beta_min, beta_max, n)?))
            }
        }

        impl std::ops::Deref for $name {
            type Target = LinearBeta;

            fn deref(&self) -> &LinearBeta {
                &self.0
            }
        }
    };
    (steps) => {
        fn parameters(&self) -> Option<super::SdeParameters> {
            Some(self.0.parameters())
        }

        fn n(&self) -> usize {
            self.0.n()
        }

        fn with_n(&self, n: usize) -> crate::Result<std::sync::Arc<dyn Sde>> {
            Ok(std::sync::Arc::new(Self(self.0.with_n(n)?)))
        }

        fn default_t_eps(&self) -> f64 {
            1e-3
        }

        fn prior_std(&self) -> f64 {
            1.0
        }
    };
}
pub(super) use of_linear_beta;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_agree_with_their_definitions() {
        let b = LinearBeta::new(0.1, 20.0, 1000).unwrap();
        let betas = b.discrete_betas();
        assert!((betas[0] - 1e-4).abs() < 1e-18 && (betas[999] - 0.02).abs() < 1e-16);
        let mut product = 1.0;
        for (beta, cumprod) in betas.iter().zip(b.alphas_cumprod()) {
            product *= 1.0 - beta;
            assert!((cumprod / product - 1.0).abs() < 1e-12);
        }
        let (c, s) = (b.sqrt_alphas_cumprod(), b.sqrt_1m_alphas_cumprod());
        assert!((0..1000).all(|i| (c[i] * c[i] + s[i] * s[i] - 1.0).abs() < 1e-14));
        assert!((s[0] - 0.01).abs() < 1e-16);
        assert_eq!(LinearBeta::new(0.1, 0.5, 1).unwrap().discrete_betas(), [0.1]);
    }

    #[test]
    fn discrete_conditioning_reads_the_table() {
        let b = LinearBeta::new(0.1, 20.0, 1000).unwrap();
        let c = b.discrete_conditioning(0.5005, 1000);
        assert!((c.argument - 499.9995).abs() < 1e-9);
        assert!((c.score_scale + 1.0 / b.sqrt_1m_alphas_cumprod()[499]).abs() < 1e-12);
    }

    #[test]
    fn constant_beta_is_allowed() {
        let b = LinearBeta::new(2.0, 2.0, 10).unwrap();
        assert!((b.time_of_log_mean_coeff(-b.log_mean_coeff(0.3)) - 0.3).abs() < 1e-15);
    }
}
