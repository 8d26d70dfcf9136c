//! The sub-VP SDE, whose variance stays below that of VP at every time.

use std::ops::Deref;
use std::sync::Arc;

use super::{Coefficients, Conditioning, LinearBeta, LinearStep, Marginal, Sde, TimeConditioning};
use crate::Result;

/// dx = −½β(t) x dt + √(β(t)(1 − e^{−2∫β})) dw. Its schedule is that of [`LinearBeta`], to which it derefs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SubVp(LinearBeta);

impl SubVp {
    /// β from `beta_min` at t = 0 to `beta_max` at t = 1, `n` steps. Fails as [`LinearBeta::new`] does.
    pub fn new(beta_min: f64, beta_max: f64, n: usize) -> Result<Self> {
        Ok(Self(LinearBeta::new(beta_min, beta_max, n)?))
    }
}

impl Deref for SubVp {
    type Target = LinearBeta;

    fn deref(&self) -> &LinearBeta {
        &self.0
    }
}

impl Sde for SubVp {
    fn name(&self) -> &'static str {
        "subvpsde"
    }

    fn n(&self) -> usize {
        self.0.n()
    }

    fn with_n(&self, n: usize) -> Result<Arc<dyn Sde>> {
        Ok(Arc::new(Self(self.0.with_n(n)?)))
    }

    fn default_t_eps(&self) -> f64 {
        1e-3
    }

    fn sde(&self, t: f64) -> Coefficients {
        let beta = self.beta(t);
        // e^{−2∫β} = e^{4m}.
        let discount = -(4.0 * self.log_mean_coeff(t)).exp_m1();
        Coefficients { drift: -0.5 * beta, diffusion: (beta * discount).sqrt() }
    }

    fn marginal_prob(&self, t: f64) -> Marginal {
        let m = self.log_mean_coeff(t);
        Marginal { mean: m.exp(), std: -(2.0 * m).exp_m1() }
    }

    fn time_of_noise(&self, ratio: f64) -> f64 {
        // σ/α = e^{−m} − e^{m} = −2 sinh m.
        self.time_of_log_mean_coeff((0.5 * ratio).asinh())
    }

    fn prior_std(&self) -> f64 {
        1.0
    }

    /// The paper has no ancestral chain for sub-VP.
    fn ancestral(&self, _t: f64) -> Option<LinearStep> {
        None
    }

    /// VP's 1 − β_i. The authors' code has none for sub-VP and stops there; this is an extension.
    fn langevin_alpha(&self, t: f64) -> f64 {
        1.0 - self.discrete_beta(self.index(t))
    }

    /// Always that of a continuously trained model, as in the authors' code.
    fn conditioning(&self, t: f64, _time: TimeConditioning) -> Conditioning {
        LinearBeta::continuous_conditioning(t, self.marginal_prob(t).std)
    }
}
