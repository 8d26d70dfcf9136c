//! The variance-preserving SDE, the continuous limit of DDPM.

use super::linear_beta::of_linear_beta;
use super::{
    Coefficients, Conditioning, Discretized, LinearBeta, LinearStep, Marginal, Sde, TimeConditioning,
};

of_linear_beta! {
    /// dx = −½β(t) x dt + √β(t) dw. Its schedule and DDPM's tables are those of [`LinearBeta`], to which it derefs.
    struct Vp
}

impl Sde for Vp {
    fn name(&self) -> &'static str {
        "vpsde"
    }

    of_linear_beta! { steps }

    fn sde(&self, t: f64) -> Coefficients {
        let beta = self.beta(t);
        Coefficients { drift: -0.5 * beta, diffusion: beta.sqrt() }
    }

    fn marginal_prob(&self, t: f64) -> Marginal {
        let m = self.log_mean_coeff(t);
        Marginal { mean: m.exp(), std: (-(2.0 * m).exp_m1()).sqrt() }
    }

    fn time_of_noise(&self, ratio: f64) -> f64 {
        // (σ/α)² = e^{−2m} − 1.
        self.time_of_log_mean_coeff(0.5 * (ratio * ratio).ln_1p())
    }

    /// DDPM's chain: f = √(1−β_i) − 1, G = √β_i. Not a number where β_i > 1, that is for N < β_max.
    fn discretize(&self, t: f64) -> Discretized {
        let beta = self.discrete_beta(self.index(t));
        // √(1−β) − 1 without cancellation.
        Discretized { f: -beta / (1.0 + (1.0 - beta).sqrt()), g: beta.sqrt() }
    }

    fn ancestral(&self, t: f64) -> Option<LinearStep> {
        Some(self.0.ancestral(self.index(t)))
    }

    fn langevin_alpha(&self, t: f64) -> f64 {
        1.0 - self.discrete_beta(self.index(t))
    }

    /// The network predicts the noise z, so the score is −model_output/std: at t·999 with the marginal's std, or at
    /// t·(levels−1) with DDPM's table.
    fn conditioning(&self, t: f64, time: TimeConditioning) -> Conditioning {
        self.0.conditioning(t, self.marginal_prob(t), time)
    }
}
