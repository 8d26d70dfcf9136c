//! The reverse-time SDE and the probability-flow ODE (Song et al. 2021, equations 6 and 13).

use super::{Discretized, LinearStep, Sde};

/// The reverse of an SDE. It runs from t = 1 to t = 0 with negative dt.
#[derive(Debug, Clone, Copy)]
pub struct Reverse<'a> {
    sde: &'a dyn Sde,
    probability_flow: bool,
}

/// dx = (`drift`·x + `score`·score) dt + `diffusion` dw̄.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReverseCoefficients {
    /// The factor of x in the drift.
    pub drift: f64,
    /// The factor of the score in the drift: −g², or −½g² for the probability flow.
    pub score: f64,
    /// The diffusion: g, or 0 for the probability flow.
    pub diffusion: f64,
}

impl<'a> Reverse<'a> {
    /// The reverse of `sde`; with `probability_flow`, the ODE that has the same marginals.
    pub fn new(sde: &'a dyn Sde, probability_flow: bool) -> Self {
        Self { sde, probability_flow }
    }

    /// Drift and diffusion at t.
    pub fn sde(&self, t: f64) -> ReverseCoefficients {
        let c = self.sde.sde(t);
        self.reversed(c.drift, c.diffusion)
    }

    /// The discretised reverse: f(x) = `drift`·x + `score`·score and G = `diffusion`; x_{i−1} = x_i − f(x_i) + G z.
    pub fn discretize(&self, t: f64) -> ReverseCoefficients {
        let Discretized { f, g } = self.sde.discretize(t);
        self.reversed(f, g)
    }

    /// One step of the reverse-diffusion predictor at t.
    pub fn reverse_diffusion(&self, t: f64) -> LinearStep {
        let c = self.discretize(t);
        LinearStep { x: 1.0 - c.drift, score: -c.score, noise: c.diffusion }
    }

    /// One step of Euler-Maruyama at t with dt = −1/N.
    pub fn euler_maruyama(&self, t: f64) -> LinearStep {
        let c = self.sde(t);
        let dt = 1.0 / self.sde.n() as f64;
        LinearStep { x: 1.0 - c.drift * dt, score: -c.score * dt, noise: c.diffusion * dt.sqrt() }
    }

    fn reversed(&self, drift: f64, diffusion: f64) -> ReverseCoefficients {
        let variance = diffusion * diffusion;
        match self.probability_flow {
            true => ReverseCoefficients { drift, score: -0.5 * variance, diffusion: 0.0 },
            false => ReverseCoefficients { drift, score: -variance, diffusion },
        }
    }
}
