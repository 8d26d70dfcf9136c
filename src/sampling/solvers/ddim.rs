//! `ddim`: DDIM (Song, Meng and Ermon 2021, equation 12) for any SDE.

use super::{Entry, Problem, Solver, SolverOptions, SolverRun, steps_of};
use crate::error::Result;
use crate::sampling::few_step::{
    Grid, Node, STEPS, SolverRow, SolverTable, check_clip, check_eta, grid_options, row,
};
use crate::sde::{Sde, TimeConditioning};

/// In the list of solvers.
pub const ENTRY: Entry = Entry {
    name: "ddim",
    help: "DDIM; eta adds noise, 1 is ancestral",
    evaluations: "one a step, 20 steps unless told otherwise",
    takes: &["steps", "eta", "clip"],
    from_options,
};

fn from_options(o: &SolverOptions) -> Result<Box<dyn Solver>> {
    let mut solver = Ddim::steps(o.steps.unwrap_or(STEPS));
    if let Some(eta) = o.eta {
        solver = solver.eta(eta);
    }
    if let Some(clip) = o.clip {
        solver = solver.clip((clip != 0.0).then_some(clip));
    }
    Ok(Box::new(solver))
}

/// DDIM. One evaluation a step; of order 1 without noise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ddim {
    grid: Grid,
    eta: f64,
    clip: Option<f64>,
}

impl Default for Ddim {
    fn default() -> Self {
        Self::steps(STEPS)
    }
}

impl Ddim {
    /// In so many steps, without noise and with predictions clamped to ±1.
    pub fn steps(steps: usize) -> Self {
        Self { grid: Grid::new(steps), eta: 0.0, clip: Some(1.0) }
    }

    /// Noise, from 0 to 1: 0 is the flow, 1 is ancestral.
    #[must_use]
    pub fn eta(mut self, eta: f64) -> Self {
        self.eta = eta;
        self
    }

    /// Clamps every prediction of x_0 to ± this, where the data are known to lie, in the model's own scale.
    #[must_use]
    pub fn clip(mut self, clip: Option<f64>) -> Self {
        self.clip = clip;
        self
    }

    grid_options!();

    /// The coefficients of a run.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) where an option is out of range.
    pub fn table(&self, sde: &dyn Sde, time: TimeConditioning) -> Result<SolverTable> {
        check_eta(self.eta)?;
        check_clip(self.clip)?;
        let nodes = self.grid.nodes(sde, time)?;
        let rows = nodes.windows(2).map(|pair| update(row(sde, time, pair[0]), pair[0], pair[1], self.eta));
        SolverTable { rows: rows.collect(), prior_std: sde.prior_std(), clip: self.clip, slots: 1 }
            .checked(ENTRY.name)
    }
}

/// x_t = α_t x̂_0 + √(σ_t² − τ²) ε + τ z, where τ is η times the standard deviation of q(x_t | x_s, x_0). `keeps` keeps x̂_0.
fn update(keeps: SolverRow, s: Node, t: Node, eta: f64) -> SolverRow {
    // q(x_s | x_t) has variance σ_s² − (α_s/α_t)² σ_t², written without cancellation.
    let gap = s.std.powi(2) * (1.0 - t.ratio / s.ratio) * (1.0 + t.ratio / s.ratio);
    let tau = eta * t.std / s.std * gap.sqrt();
    let direction = (t.std.powi(2) - tau * tau).max(0.0).sqrt();
    SolverRow { kept: t.mean, output: -s.std * direction, noise: tau, draws: eta > 0.0, ..keeps }
}

impl Solver for Ddim {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn describe(&self, _: &Problem) -> Result<String> {
        Ok(format!("{}, eta {}, {}", ENTRY.name, self.eta, steps_of(self.grid.steps)))
    }

    fn plan(&self, problem: &Problem) -> Result<SolverRun> {
        let table = self.table(problem.sde()?.as_ref(), problem.time())?;
        Ok(SolverRun::Rows { table, raw_output: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::few_step::tests::{
        T_EPS, assert_one_point_is_reached, assert_order, assert_tends_to_the_data, sdes,
    };

    const TIME: TimeConditioning = TimeConditioning::Continuous;

    #[test]
    fn the_flow_is_solved_to_first_order() {
        assert_order(1.0, |sde, spacing, steps| {
            let solver = Ddim::steps(steps).clip(None).spacing(spacing).t_eps(T_EPS);
            solver.denoise(false).table(sde, TIME).unwrap()
        });
    }

    #[test]
    fn with_noise_it_tends_to_the_data() {
        for eta in [0.5, 1.0] {
            let solver = Ddim::steps(4000).eta(eta).clip(None).t_eps(1e-4);
            assert_tends_to_the_data(|sde| solver.table(sde, TIME).unwrap());
        }
    }

    #[test]
    fn one_data_point_is_reached_exactly() {
        for (eta, steps) in [(0.0, 1), (0.7, 1), (0.7, 3)] {
            let solver = Ddim::steps(steps).eta(eta).clip(None).t_eps(T_EPS);
            assert_one_point_is_reached(|sde| solver.table(sde, TIME).unwrap());
        }
    }

    #[test]
    fn one_evaluation_a_step() {
        for sde in sdes() {
            let solver = Ddim::steps(10).denoise(false);
            assert_eq!(solver.table(sde.as_ref(), TIME).unwrap().rows.len(), 10);
            assert!(solver.eta(-0.1).table(sde.as_ref(), TIME).is_err());
        }
    }
}
