//! `DPMSolverSinglestepScheduler`: groups of steps of rising order, all from the state at which the group began.

use serde::Deserialize;

use super::dpm_multistep::{check, keeps, unclipped};
use super::sigmas::{Family, FinalSigmas, Level, SigmaKeys};
use super::{Class, History, Schedule, TimestepSpacing, read};
use crate::error::Result;
use crate::sampling::dpm::{AlgorithmType, Gains, SolverType};
use crate::sampling::few_step::{SolverRow, SolverTable};
use crate::sampling::solvers::{SolverOptions, SolverRun};

pub(super) const CLASS: Class =
    Class { name: "DPMSolverSinglestepScheduler", takes: &["steps"], steps: 50, read: read::<DpmSinglestep> };

/// Fields and defaults are diffusers'.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct DpmSinglestep {
    /// The chain and its levels, always spaced evenly.
    #[serde(flatten)]
    pub sigmas: SigmaKeys,
    /// From 1 to 3.
    pub solver_order: usize,
    /// What is predicted, and whether noise is added.
    pub algorithm_type: AlgorithmType,
    /// How differences enter an update.
    pub solver_type: SolverType,
    /// The last group is of lower order, so that any number of steps is right.
    pub lower_order_final: bool,
    /// Where the last step ends.
    pub final_sigmas_type: FinalSigmas,
    /// Timesteps whose λ = ln(α/σ) lies below this are left out.
    pub lambda_min_clipped: Option<f64>,
}

impl Default for DpmSinglestep {
    fn default() -> Self {
        Self {
            sigmas: SigmaKeys::default(),
            solver_order: 2,
            algorithm_type: AlgorithmType::DpmSolverPp,
            solver_type: SolverType::Midpoint,
            lower_order_final: false,
            final_sigmas_type: FinalSigmas::Zero,
            lambda_min_clipped: None,
        }
    }
}

impl DpmSinglestep {
    /// The order of each of `n` steps. As in diffusers, the last group is of lower order where the steps do not divide, or end without noise.
    fn orders(&self, n: usize) -> Vec<usize> {
        let (order, zero) = (self.solver_order, self.final_sigmas_type == FinalSigmas::Zero);
        let lower = self.lower_order_final || zero || !n.is_multiple_of(order);
        let group: Vec<usize> = (1..=order).collect();
        let groups = |count: usize, end: &[usize]| [group.repeat(count), end.to_vec()].concat();
        let mut orders = match (order, n % order) {
            (1, _) => vec![1; n],
            (2, 0) if lower => groups(n / 2 - 1, &[1, 1]),
            (2, 1) => groups(n / 2, &[1]),
            (3, 0) if lower => groups(n / 3 - 1, &[1, 2, 1]),
            (3, 1) => groups(n / 3, &[1]),
            (3, 2) => groups(n / 3, &[1, 2]),
            _ => groups(n / order, &[]),
        };
        if let (true, Some(last)) = (zero, orders.last_mut()) {
            *last = 1;
        }
        orders
    }
}

impl Schedule for DpmSinglestep {
    fn run(&self, steps: usize, _: &SolverOptions) -> Result<SolverRun> {
        check(self.solver_order, self.algorithm_type, self.final_sigmas_type)?;
        let sigmas =
            SigmaKeys { timestep_spacing: TimestepSpacing::Linspace, steps_offset: 0, ..self.sigmas.clone() };
        let last = unclipped(&sigmas, self.lambda_min_clipped)?;
        let levels = sigmas.levels(steps, Family::Multistep { exact: false }, Some(last))?;
        let all: Vec<Level> =
            levels.run.iter().copied().chain([levels.last(self.final_sigmas_type)]).collect();
        let orders = self.orders(levels.run.len());
        let history = History::new(self.solver_order - 1);
        // Where the state at the beginning of a group is kept.
        let base = history.slots();
        let lambda = |i: usize| -all[i].node.ratio.ln();
        let rows = orders.iter().enumerate().map(|(i, &order)| {
            let from = i + 1 - order;
            let gains = self.algorithm_type.gains(all[from].node, all[i + 1].node);
            let h = lambda(i + 1) - lambda(from);
            let share = |j: usize| (lambda(j) - lambda(from)) / h;
            let factors = match order {
                1 => vec![gains.zeroth],
                2 => second(&gains, self.solver_type, share(i)),
                _ => third(&gains, self.solver_type, [share(i), share(i - 1)]),
            };
            let row = SolverRow { noise: gains.noise, ..keeps(&sigmas, self.algorithm_type, all[i]) };
            let mut row = history.row(row, i, &factors);
            match order {
                1 => (row.x, row.keep_x_in) = (gains.x, Some(base)),
                _ => row.before[base] = gains.x,
            }
            row
        });
        let table = SolverTable { rows: rows.collect(), prior_std: 1.0, clip: None, slots: base + 1 };
        Ok(SolverRun::Rows { table: table.checked(CLASS.name)?, raw_output: true })
    }
}

/// D0 = m1, D1 = (m0 − m1)/r.
fn second(gains: &Gains, kind: SolverType, r: f64) -> Vec<f64> {
    let first = gains.first(kind) / r;
    vec![first, gains.zeroth - first]
}

/// D0 = m2. With D1_0 = (m1 − m2)/r1 and D1_1 = (m0 − m2)/r0, midpoint takes D1_1 alone; heun takes
/// D1 = (r0·D1_0 − r1·D1_1)/(r0 − r1) and D2 = 2(D1_1 − D1_0)/(r0 − r1).
fn third(gains: &Gains, kind: SolverType, [r0, r1]: [f64; 2]) -> Vec<f64> {
    let (first, second) = (gains.first(SolverType::Heun), gains.second.unwrap_or(0.0));
    let [of_0, of_1] = match kind {
        SolverType::Midpoint => [0.0, first / r0],
        SolverType::Heun => {
            let apart = r0 - r1;
            [(first * r0 - 2.0 * second) / apart / r1, (2.0 * second - first * r1) / apart / r0]
        }
    };
    vec![of_1, of_0, gains.zeroth - of_0 - of_1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_of_groups() {
        let with = |solver_order, lower_order_final, last, n| {
            let config = DpmSinglestep {
                solver_order,
                lower_order_final,
                final_sigmas_type: last,
                ..Default::default()
            };
            config.orders(n)
        };
        let (zero, min) = (FinalSigmas::Zero, FinalSigmas::SigmaMin);
        assert_eq!(with(3, true, min, 6), [1, 2, 3, 1, 2, 1]);
        assert_eq!(with(3, false, min, 6), [1, 2, 3, 1, 2, 3]);
        assert_eq!(with(3, false, min, 7), [1, 2, 3, 1, 2, 3, 1]);
        assert_eq!(with(3, true, zero, 5), [1, 2, 3, 1, 1]);
        assert_eq!(with(2, false, min, 4), [1, 2, 1, 2]);
        assert_eq!(with(2, false, zero, 4), [1, 2, 1, 1]);
        assert_eq!(with(2, true, min, 1), [1]);
    }
}
