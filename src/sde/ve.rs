//! The variance-exploding SDE, the continuous limit of score matching with Langevin dynamics (SMLD).

use std::sync::Arc;

use super::{
    Coefficients, Conditioning, Discretized, LinearStep, Marginal, Sde, SdeParameters, TimeConditioning,
    check_n, linspace,
};
use crate::{Error, Result};

/// dx = σ(t) √(2 ln(σ_max/σ_min)) dw with σ(t) = σ_min (σ_max/σ_min)^t.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ve {
    sigma_min: f64,
    sigma_max: f64,
    n: usize,
}

impl Ve {
    /// σ from `sigma_min` at t = 0 to `sigma_max` at t = 1, `n` noise levels.
    /// Fails unless 0 < sigma_min < sigma_max < ∞ and `n` ≥ 1.
    pub fn new(sigma_min: f64, sigma_max: f64, n: usize) -> Result<Self> {
        if !(sigma_min.is_finite() && sigma_min > 0.0) {
            return Err(Error::invalid("model.sigma_min", sigma_min, "the smallest σ is above 0"));
        }
        if !(sigma_max.is_finite() && sigma_max > sigma_min) {
            return Err(Error::invalid(
                "model.sigma_max",
                sigma_max,
                format!("the largest σ is above sigma_min = {sigma_min}"),
            ));
        }
        check_n(n)?;
        Ok(Self { sigma_min, sigma_max, n })
    }

    /// σ(t).
    pub fn sigma(&self, t: f64) -> f64 {
        self.sigma_min * (self.log_ratio() * t).exp()
    }

    /// The N noise levels, ascending.
    pub fn discrete_sigmas(&self) -> Vec<f64> {
        linspace(self.sigma_min.ln(), self.sigma_max.ln(), self.n).into_iter().map(f64::exp).collect()
    }

    fn log_ratio(&self) -> f64 {
        (self.sigma_max / self.sigma_min).ln()
    }

    /// ln σ_i of the table of N levels.
    fn log_sigma(&self, i: usize) -> f64 {
        self.sigma_min.ln() + self.log_gap() * i as f64
    }

    /// ln σ_i − ln σ_{i−1}.
    fn log_gap(&self) -> f64 {
        self.log_ratio() / (self.n.max(2) - 1) as f64
    }

    /// σ_i² and 1 − σ_{i−1}²/σ_i², where σ_{−1} = 0.
    fn level(&self, t: f64) -> (f64, f64) {
        let i = self.index(t);
        let gain = if i == 0 { 1.0 } else { -(-2.0 * self.log_gap()).exp_m1() };
        ((2.0 * self.log_sigma(i)).exp(), gain)
    }
}

impl Default for Ve {
    /// The authors' for CIFAR-10: σ from 0.01 to 50, N = 1000.
    fn default() -> Self {
        Self { sigma_min: 0.01, sigma_max: 50.0, n: 1000 }
    }
}

impl Sde for Ve {
    fn name(&self) -> &'static str {
        "vesde"
    }

    fn parameters(&self) -> Option<SdeParameters> {
        let Self { sigma_min, sigma_max, n } = *self;
        Some(SdeParameters { sigma_min, sigma_max, n, ..SdeParameters::default() })
    }

    fn n(&self) -> usize {
        self.n
    }

    fn with_n(&self, n: usize) -> Result<Arc<dyn Sde>> {
        Ok(Arc::new(Self::new(self.sigma_min, self.sigma_max, n)?))
    }

    fn default_t_eps(&self) -> f64 {
        1e-5
    }

    fn sde(&self, t: f64) -> Coefficients {
        Coefficients { drift: 0.0, diffusion: self.sigma(t) * (2.0 * self.log_ratio()).sqrt() }
    }

    fn marginal_prob(&self, t: f64) -> Marginal {
        Marginal { mean: 1.0, std: self.sigma(t) }
    }

    fn time_of_noise(&self, ratio: f64) -> f64 {
        (ratio / self.sigma_min).ln() / self.log_ratio()
    }

    fn prior_std(&self) -> f64 {
        self.sigma_max
    }

    /// SMLD's chain: G = √(σ_i² − σ_{i−1}²).
    fn discretize(&self, t: f64) -> Discretized {
        let (variance, gain) = self.level(t);
        Discretized { f: 0.0, g: (variance * gain).sqrt() }
    }

    fn ancestral(&self, t: f64) -> Option<LinearStep> {
        let (variance, gain) = self.level(t);
        let added = variance * gain;
        // σ_{i−1}²(σ_i² − σ_{i−1}²)/σ_i² = (σ_i² − σ_{i−1}²)·(1 − gain).
        Some(LinearStep { x: 1.0, score: added, noise: (added * (1.0 - gain)).sqrt() })
    }

    fn langevin_alpha(&self, _t: f64) -> f64 {
        1.0
    }

    /// The network's output is the score: it divides by σ itself. It is told σ(t), or where it was trained on
    /// labels round((1−t)(levels−1)), of which label 0 is the largest σ.
    fn conditioning(&self, t: f64, time: TimeConditioning) -> Conditioning {
        let argument = match time {
            TimeConditioning::Stated { argument, prediction } => {
                return Conditioning::stated(t, self.marginal_prob(t), argument, prediction);
            }
            TimeConditioning::Continuous => self.sigma(t),
            TimeConditioning::Discrete { levels } => {
                let last = levels.max(1) - 1;
                // Halves go to even, as in PyTorch.
                ((1.0 - t) * last as f64).round_ties_even().clamp(0.0, last as f64)
            }
        };
        Conditioning { argument, score_scale: 1.0, x_scale: 0.0 }
    }
}

/// The noise levels of a discretely conditioned network, descending: label 0 is `sigma_max`.
pub fn network_sigmas(sigma_min: f64, sigma_max: f64, levels: usize) -> Vec<f64> {
    linspace(sigma_max.ln(), sigma_min.ln(), levels).into_iter().map(f64::exp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_run_in_opposite_directions() {
        let ve = Ve::new(0.01, 50.0, 11).unwrap();
        let (up, mut down) = (ve.discrete_sigmas(), network_sigmas(0.01, 50.0, 11));
        down.reverse();
        assert!(up.iter().zip(&down).all(|(a, b)| (a / b - 1.0).abs() < 1e-14));
        assert!((up[0] / 0.01 - 1.0).abs() < 1e-14 && (up[10] / 50.0 - 1.0).abs() < 1e-14);
    }

    #[test]
    fn chain_follows_its_table() {
        let ve = Ve::new(0.01, 50.0, 7).unwrap();
        let s = ve.discrete_sigmas();
        for i in 0..7 {
            let t = (i as f64 + 0.1) / 6.0;
            let before = if i == 0 { 0.0 } else { s[i - 1] };
            let added = s[i] * s[i] - before * before;
            assert!((ve.discretize(t).g / added.sqrt() - 1.0).abs() < 1e-12);
            let step = ve.ancestral(t).unwrap();
            assert!((step.score / added - 1.0).abs() < 1e-12);
            assert!((step.noise - (before * before * added).sqrt() / s[i]).abs() < 1e-12);
        }
        let one = Ve::new(0.01, 50.0, 1).unwrap();
        assert!((one.discretize(1.0).g - 0.01).abs() < 1e-15);
    }

    #[test]
    fn labels() {
        let ve = Ve::new(0.01, 50.0, 6).unwrap();
        let label = |t| ve.conditioning(t, TimeConditioning::Discrete { levels: 6 }).argument;
        assert_eq!([label(1.0), label(0.800002), label(0.5), label(1e-5)], [0.0, 1.0, 2.0, 5.0]);
        assert!((ve.conditioning(1.0, TimeConditioning::Continuous).argument - 50.0).abs() < 1e-12);
    }
}
