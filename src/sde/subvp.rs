//! The sub-VP SDE, whose variance stays below that of VP at every time.

use super::linear_beta::of_linear_beta;
use super::{Coefficients, Conditioning, LinearBeta, LinearStep, Marginal, Sde, TimeConditioning};

of_linear_beta! {
    /// dx = −½β(t) x dt + √(β(t)(1 − e^{−2∫β})) dw. Its schedule is that of [`LinearBeta`], to which it derefs.
    struct SubVp
}

impl Sde for SubVp {
    fn name(&self) -> &'static str {
        "subvpsde"
    }

    of_linear_beta! { steps }

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

    /// The paper has no ancestral chain for sub-VP.
    fn ancestral(&self, _t: f64) -> Option<LinearStep> {
        None
    }

    /// VP's 1 − β_i. The authors' code has none for sub-VP and stops there; this is an extension.
    fn langevin_alpha(&self, t: f64) -> f64 {
        1.0 - self.discrete_beta(self.index(t))
    }

    /// A network of the authors is always told what a continuously trained one is, as in their code.
    fn conditioning(&self, t: f64, time: TimeConditioning) -> Conditioning {
        let time = match time {
            TimeConditioning::Discrete { .. } => TimeConditioning::Continuous,
            time => time,
        };
        self.0.conditioning(t, self.marginal_prob(t), time)
    }
}
