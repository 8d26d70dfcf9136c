//! The updates of DPM-Solver (Lu et al. 2022): what `dpmpp` and diffusers' DPMSolver schedulers have in common.
//!
//! An update is linear in x, in D0 (a prediction m) and in D1 and D2, the first and second differences of predictions in λ = −ln r.
//! DPM-Solver++ predicts the data, DPM-Solver the noise; each has a form with noise, that of the reverse SDE.

use serde::Deserialize;

use super::few_step::Node;

/// What is predicted, and whether noise is added, under diffusers' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum AlgorithmType {
    /// Of the noise.
    #[serde(rename = "dpmsolver")]
    DpmSolver,
    /// Of the data.
    #[serde(rename = "dpmsolver++")]
    DpmSolverPp,
    /// Of the noise, with the SDE's own.
    #[serde(rename = "sde-dpmsolver")]
    SdeDpmSolver,
    /// Of the data, with the SDE's noise.
    #[serde(rename = "sde-dpmsolver++")]
    SdeDpmSolverPp,
}

/// How D1 enters an update of second order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SolverType {
    /// With half the factor of D0.
    Midpoint,
    /// With the integral of the exponential that belongs to it.
    Heun,
}

/// The factors of an update from s to t.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Gains {
    pub x: f64,
    /// Of D0.
    pub zeroth: f64,
    /// Of D1 in [`SolverType::Midpoint`] and in [`SolverType::Heun`].
    pub first: [f64; 2],
    /// Of D2; nothing where the algorithm has no third order.
    pub second: Option<f64>,
    /// Of the draw.
    pub noise: f64,
}

impl Gains {
    pub(super) fn first(&self, kind: SolverType) -> f64 {
        self.first[usize::from(kind == SolverType::Heun)]
    }
}

/// Factors of x, of the prediction of x_0 and of the draw, for any share `eta` of the SDE's noise:
/// x_t = (σ_t/σ_s) e^{−ηh} x + α_t (1 − e^{−(1+η)h}) x̂_0 + σ_t √(1 − e^{−2ηh}) z, where e^{−h} = r_t/r_s.
pub(super) fn of_data(s: Node, t: Node, eta: f64) -> [f64; 3] {
    let shrink = t.ratio / s.ratio;
    let x = t.std / s.std * shrink.powf(eta);
    [x, t.mean * (1.0 - shrink.powf(1.0 + eta)), t.std * (1.0 - shrink.powf(2.0 * eta)).max(0.0).sqrt()]
}

impl AlgorithmType {
    /// Whether the prediction is that of the data.
    pub(super) fn of_data(self) -> bool {
        matches!(self, Self::DpmSolverPp | Self::SdeDpmSolverPp)
    }

    /// Whether noise is drawn.
    pub(super) fn draws(self) -> bool {
        matches!(self, Self::SdeDpmSolver | Self::SdeDpmSolverPp)
    }

    pub(super) fn gains(self, s: Node, t: Node) -> Gains {
        let h = (s.ratio / t.ratio).ln();
        let of_draws = f64::from(u8::from(self.draws()));
        if self.of_data() {
            let [x, zeroth, noise] = of_data(s, t, of_draws);
            let (h, shrink) = ((1.0 + of_draws) * h, (t.ratio / s.ratio).powf(1.0 + of_draws));
            let second = match self.draws() {
                false => -t.mean * ((shrink - 1.0 + h) / (h * h) - 0.5),
                // As diffusers has it.
                true => t.mean * ((1.0 - shrink - h) / (h * h) - 0.5),
            };
            let first = [0.5 * zeroth, t.mean * ((shrink - 1.0) / h + 1.0)];
            return Gains { x, zeroth, first, second: Some(second), noise };
        }
        let (grow, times) = (s.ratio / t.ratio, 1.0 + of_draws);
        let zeroth = -times * t.std * (grow - 1.0);
        Gains {
            x: t.mean / s.mean,
            zeroth,
            first: [0.5 * zeroth, -times * t.std * ((grow - 1.0) / h - 1.0)],
            second: (!self.draws()).then(|| -t.std * ((grow - 1.0 - h) / (h * h) - 0.5)),
            noise: of_draws * t.std * (grow * grow - 1.0).max(0.0).sqrt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the prediction is a constant, the step is exact: both forms lead from one point of a line to another.
    #[test]
    fn the_step_is_exact_for_constant_predictions() {
        let (s, t) = (Node::of_ratio(0.9, 3.0), Node::of_ratio(0.4, 0.7));
        let (x0, epsilon) = (0.3, -1.2);
        let at = |node: Node| node.mean * x0 + node.std * epsilon;
        for algorithm in [AlgorithmType::DpmSolver, AlgorithmType::DpmSolverPp] {
            let gains = algorithm.gains(s, t);
            let m = if algorithm.of_data() { x0 } else { epsilon };
            assert!((gains.x * at(s) + gains.zeroth * m - at(t)).abs() < 1e-12, "{algorithm:?}");
            assert_eq!(gains.noise, 0.0);
        }
        // With noise the marginal of one data point is kept: variance σ_t². The noise of x is no constant there, x_0 is.
        let gains = AlgorithmType::SdeDpmSolverPp.gains(s, t);
        assert!((gains.x * s.mean * x0 + gains.zeroth * x0 - t.mean * x0).abs() < 1e-12);
        let variance = (gains.x * s.std).powi(2) + gains.noise.powi(2);
        assert!((variance - t.std.powi(2)).abs() < 1e-12, "{variance}");
    }
}
