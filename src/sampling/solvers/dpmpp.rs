//! `dpmpp`: DPM-Solver++(2M), the multistep solver of order 2 of Lu et al. 2022 (Algorithm 2), and its form with noise.

use super::{Entry, Problem, Solver, SolverOptions, SolverRun, steps_of};
use crate::error::Result;
use crate::sampling::dpm::of_data;
use crate::sampling::few_step::{
    Grid, Node, STEPS, SolverRow, SolverTable, check_clip, check_eta, grid_options, of_slot_0, row,
};
use crate::sde::{Sde, TimeConditioning};

/// In the list of solvers.
pub const ENTRY: Entry = Entry {
    name: "dpmpp",
    help: "DPM-Solver++(2M); its SDE form unless eta is 0, the flow",
    evaluations: "one a step, 20 steps unless told otherwise",
    takes: &["steps", "eta", "clip"],
    from_options,
};

fn from_options(o: &SolverOptions) -> Result<Box<dyn Solver>> {
    let mut solver = DpmSolverPp::steps(o.steps.unwrap_or(STEPS));
    if let Some(eta) = o.eta {
        solver = solver.eta(eta);
    }
    if let Some(clip) = o.clip {
        solver = solver.clip((clip != 0.0).then_some(clip));
    }
    Ok(Box::new(solver))
}

/// DPM-Solver++(2M). One evaluation a step; of order 2 without noise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DpmSolverPp {
    pub(super) grid: Grid,
    eta: f64,
    clip: Option<f64>,
}

impl Default for DpmSolverPp {
    fn default() -> Self {
        Self::steps(STEPS)
    }
}

impl DpmSolverPp {
    /// In so many steps, with as much noise as the SDE adds and predictions clamped to ±1.
    pub fn steps(steps: usize) -> Self {
        Self { grid: Grid::new(steps), eta: 1.0, clip: Some(1.0) }
    }

    /// Noise, from 0 to 1: 0 is the flow, 1 their SDE-DPM-Solver++(2M), which forgets the network's earlier errors.
    #[must_use]
    pub fn eta(mut self, eta: f64) -> Self {
        self.eta = eta;
        self
    }

    /// Clamps every prediction of x_0 to ± this, where the data are known to lie, in the model's own scale. At t = 1 the prediction
    /// magnifies the network's error by σ/α, so that without a clamp few steps of a young model run away.
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
        let mut before: Option<f64> = None;
        let rows = nodes.windows(2).map(|pair| {
            let (s, t) = (pair[0], pair[1]);
            // The step to no noise is infinite in λ; its limit is the prediction of x_0, without a second order.
            let h = (s.ratio / t.ratio).ln();
            let r = before.replace(h).map(|last| last / h);
            update(row(sde, time, s), s, t, r, self.eta)
        });
        SolverTable { rows: rows.collect(), prior_std: sde.prior_std(), clip: self.clip, slots: 1 }
            .checked(ENTRY.name)
    }
}

/// The step of [`of_data`] with D in place of x̂_0, where D = x̂_0 + (x̂_0 − x̂_0 before)/(2r) and r = h before / h.
/// `keeps` keeps x̂_0.
fn update(keeps: SolverRow, s: Node, t: Node, r: Option<f64>, eta: f64) -> SolverRow {
    let [x, gain, noise] = of_data(s, t, eta);
    let half = r.map_or(0.0, |r| if r > 0.0 { 0.5 / r } else { 0.0 });
    SolverRow {
        x,
        kept: gain * (1.0 + half),
        before: of_slot_0(-gain * half),
        noise,
        draws: eta > 0.0,
        ..keeps
    }
}

impl Solver for DpmSolverPp {
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
    fn the_flow_is_solved_to_second_order() {
        assert_order(2.0, |sde, spacing, steps| {
            let solver = DpmSolverPp::steps(steps).eta(0.0).clip(None).spacing(spacing);
            solver.t_eps(T_EPS).denoise(false).table(sde, TIME).unwrap()
        });
    }

    #[test]
    fn with_noise_it_tends_to_the_data() {
        for eta in [0.5, 1.0] {
            let solver = DpmSolverPp::steps(4000).eta(eta).clip(None).t_eps(1e-4);
            assert_tends_to_the_data(|sde| solver.table(sde, TIME).unwrap());
        }
    }

    #[test]
    fn one_data_point_is_reached_exactly() {
        for (eta, steps) in [(0.0, 1), (0.0, 3), (0.7, 1), (0.7, 3)] {
            let solver = DpmSolverPp::steps(steps).eta(eta).clip(None).t_eps(T_EPS);
            assert_one_point_is_reached(|sde| solver.table(sde, TIME).unwrap());
        }
    }

    #[test]
    fn one_evaluation_a_step() {
        for sde in sdes() {
            assert_eq!(DpmSolverPp::steps(10).table(sde.as_ref(), TIME).unwrap().rows.len(), 10);
            assert!(DpmSolverPp::steps(10).eta(1.1).table(sde.as_ref(), TIME).is_err());
        }
    }
}
