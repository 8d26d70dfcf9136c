//! `heun`: Heun's method, Algorithm 1 of Karras et al. 2022 for x/α as a function of r, where their σ(t) = t, s(t) = 1.

use super::{Entry, Problem, Solver, SolverOptions, SolverRun, steps_of};
use crate::error::Result;
use crate::sampling::few_step::{Grid, Node, STEPS, SolverRow, SolverTable, grid_options, of_slot_0, row};
use crate::sde::{Sde, TimeConditioning};

/// In the list of solvers.
pub const ENTRY: Entry = Entry {
    name: "heun",
    help: "Heun's method on the probability flow (Karras et al. 2022)",
    evaluations: "two a step, 20 steps unless told otherwise",
    takes: &["steps"],
    from_options: |o: &SolverOptions| Ok(Box::new(Heun::steps(o.steps.unwrap_or(STEPS)))),
};

/// Heun's method. Two evaluations a step, one for a last step that denoises; of order 2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heun {
    grid: Grid,
}

impl Default for Heun {
    fn default() -> Self {
        Self::steps(STEPS)
    }
}

impl Heun {
    /// In so many steps.
    pub fn steps(steps: usize) -> Self {
        Self { grid: Grid::new(steps) }
    }

    grid_options!();

    /// The coefficients of a run.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) where an option is out of range.
    pub fn table(&self, sde: &dyn Sde, time: TimeConditioning) -> Result<SolverTable> {
        let nodes = self.grid.nodes(sde, time)?;
        let mut rows = Vec::with_capacity(2 * nodes.len());
        for pair in nodes.windows(2) {
            let (s, t) = (pair[0], pair[1]);
            rows.push(first(row(sde, time, s), s, t));
            if t.ratio > 0.0 {
                rows.push(second(row(sde, time, t), s, t));
            }
        }
        // k is the score, which no range holds.
        SolverTable { rows, prior_std: sde.prior_std(), clip: None, slots: 1 }.checked(ENTRY.name)
    }
}

/// The Euler step x_t = (α_t/α_s) x + α_t (r_t − r_s) ε_s, which is DDIM's; k is the score.
fn first(at: SolverRow, s: Node, t: Node) -> SolverRow {
    SolverRow {
        kept_x: 0.0,
        kept_output: 1.0,
        x: t.mean / s.mean,
        output: -t.mean * (t.ratio - s.ratio) * s.std,
        ends_step: t.ratio == 0.0,
        ..at
    }
}

/// Replaces half of the Euler step's ε_s by ε_t: x_t = x + α_t (r_t − r_s)(ε_t − ε_s)/2.
fn second(at: SolverRow, s: Node, t: Node) -> SolverRow {
    let half = 0.5 * t.mean * (t.ratio - s.ratio);
    SolverRow {
        kept_x: 0.0,
        kept_output: 1.0,
        x: 1.0,
        output: -half * t.std,
        before: of_slot_0(half * s.std),
        ..at
    }
}

impl Solver for Heun {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn describe(&self, _: &Problem) -> Result<String> {
        Ok(format!("{}, {}", ENTRY.name, steps_of(self.grid.steps)))
    }

    fn plan(&self, problem: &Problem) -> Result<SolverRun> {
        let table = self.table(problem.sde()?.as_ref(), problem.time())?;
        Ok(SolverRun::Rows { table, raw_output: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::few_step::tests::{T_EPS, assert_one_point_is_reached, assert_order, sdes};

    const TIME: TimeConditioning = TimeConditioning::Continuous;

    #[test]
    fn it_is_of_second_order() {
        assert_order(2.0, |sde, spacing, steps| {
            let solver = Heun::steps(steps).spacing(spacing).t_eps(T_EPS).denoise(false);
            solver.table(sde, TIME).unwrap()
        });
    }

    #[test]
    fn one_data_point_is_reached_exactly() {
        for steps in [1, 3] {
            assert_one_point_is_reached(|sde| Heun::steps(steps).t_eps(T_EPS).table(sde, TIME).unwrap());
        }
    }

    #[test]
    fn two_evaluations_a_step_and_one_to_denoise() {
        for sde in sdes() {
            let rows =
                |denoise| Heun::steps(10).denoise(denoise).table(sde.as_ref(), TIME).unwrap().rows.len();
            assert_eq!([rows(true), rows(false)], [19, 20]);
        }
    }
}
