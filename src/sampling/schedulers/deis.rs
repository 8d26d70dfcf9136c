//! `DEISMultistepScheduler`: exponential integrators with the noise interpolated in ln ρ (Zhang and Chen 2022), ρ = σ/α.

use serde::Deserialize;

use super::sigmas::{Family, FinalSigmas, Level, SigmaKeys};
use super::{Class, History, Schedule, read};
use crate::error::{Error, Result};
use crate::sampling::few_step::{SolverRow, SolverTable};
use crate::sampling::solvers::{SolverOptions, SolverRun};

pub(super) const CLASS: Class =
    Class { name: "DEISMultistepScheduler", takes: &["steps"], steps: 50, read: read::<Deis> };

/// Fields and defaults are diffusers'.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Deis {
    /// The chain and its levels.
    #[serde(flatten)]
    pub sigmas: SigmaKeys,
    /// From 1 to 3.
    pub solver_order: usize,
    /// The last steps of a short run are of lower order.
    pub lower_order_final: bool,
}

impl Default for Deis {
    fn default() -> Self {
        Self { sigmas: SigmaKeys::default(), solver_order: 2, lower_order_final: true }
    }
}

/// ∫ (ln u − ln c)/(ln b − ln c) du from `s` to `t`: the weight of the noise at b in a line through b and c.
fn line(s: f64, t: f64, [b, c]: [f64; 2]) -> f64 {
    let integral = |u: f64| u * (u.ln() - c.ln() - 1.0) / (b.ln() - c.ln());
    integral(t) - integral(s)
}

/// The same in a parabola through b, c and d.
fn parabola(s: f64, t: f64, [b, c, d]: [f64; 3]) -> f64 {
    let (lb, lc, ld) = (b.ln(), c.ln(), d.ln());
    let integral = |u: f64| {
        let l = u.ln();
        u * (lc * (ld - l + 1.0) - ld * l + ld + l * l - 2.0 * l + 2.0) / ((lb - lc) * (lb - ld))
    };
    integral(t) - integral(s)
}

impl Schedule for Deis {
    fn run(&self, steps: usize, _: &SolverOptions) -> Result<SolverRun> {
        if !(1..=3).contains(&self.solver_order) {
            return Err(Error::invalid("solver_order", self.solver_order, "DEIS has orders 1 to 3"));
        }
        let spaced = self.sigmas.use_karras_sigmas || self.sigmas.use_exponential_sigmas;
        let levels = self.sigmas.levels(steps, Family::Multistep { exact: false }, None)?;
        // The last step of these spacings goes nowhere, as in diffusers.
        let last = match levels.run.last() {
            Some(&last) if spaced => last,
            _ => levels.last(FinalSigmas::SigmaMin),
        };
        let n = levels.run.len();
        let all: Vec<Level> = levels.run.into_iter().chain([last]).collect();
        let history = History::new(self.solver_order - 1);
        let rho = |i: usize| all[i].node.ratio;
        let rows = (0..n).map(|i| {
            let (s, t) = (all[i].node, all[i + 1].node);
            let short = self.lower_order_final && n < 15;
            let most = if short { (n - i).min(3) } else { 3 };
            let weights = match self.solver_order.min(i + 1).min(most) {
                1 => vec![t.ratio - s.ratio],
                2 => {
                    let [a, b] = [rho(i), rho(i - 1)];
                    vec![line(s.ratio, t.ratio, [a, b]), line(s.ratio, t.ratio, [b, a])]
                }
                _ => {
                    let [a, b, c] = [rho(i), rho(i - 1), rho(i - 2)];
                    let weight = |points| parabola(s.ratio, t.ratio, points);
                    vec![weight([a, b, c]), weight([b, c, a]), weight([c, a, b])]
                }
            };
            let factors: Vec<f64> = weights.into_iter().map(|weight| t.mean * weight).collect();
            let row = all[i].row(self.sigmas.prediction_type.noise(s));
            history.row(SolverRow { x: t.mean / s.mean, ..row }, i, &factors)
        });
        let table = SolverTable { rows: rows.collect(), prior_std: 1.0, clip: None, slots: history.slots() };
        Ok(SolverRun::Rows { table: table.checked(CLASS.name)?, raw_output: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The weights are those of interpolation: they integrate 1, ln u and (ln u)² exactly, and so add up to the length of the step.
    #[test]
    fn weights_integrate_what_they_interpolate() {
        let (s, t, points) = (0.8, 0.5, [0.8, 1.3, 2.0]);
        let sum: f64 =
            [[0, 1, 2], [1, 2, 0], [2, 0, 1]].iter().map(|p| parabola(s, t, p.map(|i| points[i]))).sum();
        assert!((sum - (t - s)).abs() < 1e-12);
        let [a, b, _] = points;
        assert!((line(s, t, [a, b]) + line(s, t, [b, a]) - (t - s)).abs() < 1e-12);
        let log = |u: f64| u * u.ln() - u;
        let first = a.ln() * line(s, t, [a, b]) + b.ln() * line(s, t, [b, a]);
        assert!((first - (log(t) - log(s))).abs() < 1e-12);
    }
}
