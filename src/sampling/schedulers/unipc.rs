//! `UniPCMultistepScheduler`: the unified predictor-corrector of Zhao et al. 2023.
//!
//! A step corrects the state that was predicted for its level, with the prediction of the network there, and goes on from the corrected one.
//! The corrector's update differs from the predictor's only in the factors of predictions, so that the corrected state is the predicted one
//! and a sum of predictions: a row computes both at once.

use serde::Deserialize;

use super::sigmas::{Family, FinalSigmas, Level, SigmaKeys};
use super::{Class, History, Schedule, read};
use crate::error::{Error, Result};
use crate::sampling::few_step::{Node, SLOTS, SolverRow, SolverTable};
use crate::sampling::solvers::{SolverOptions, SolverRun};

pub(super) const CLASS: Class =
    Class { name: "UniPCMultistepScheduler", takes: &["steps"], steps: 50, read: read::<UniPc> };

/// B(h) of the paper, under diffusers' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SolverType {
    /// h.
    Bh1,
    /// e^h − 1. The names of other schedulers stand for it.
    #[serde(alias = "midpoint", alias = "heun", alias = "logrho")]
    Bh2,
}

/// Fields and defaults are diffusers'.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct UniPc {
    /// The chain and its levels.
    #[serde(flatten)]
    pub sigmas: SigmaKeys,
    /// Of the predictor; the corrector is of one order more.
    pub solver_order: usize,
    /// The data are predicted, else the noise.
    pub predict_x0: bool,
    /// B(h).
    pub solver_type: SolverType,
    /// The last steps are of lower order.
    pub lower_order_final: bool,
    /// Steps behind which nothing is corrected.
    pub disable_corrector: Vec<usize>,
    /// Where the last step ends.
    pub final_sigmas_type: FinalSigmas,
}

impl Default for UniPc {
    fn default() -> Self {
        Self {
            sigmas: SigmaKeys::default(),
            solver_order: 2,
            predict_x0: true,
            solver_type: SolverType::Bh2,
            lower_order_final: true,
            disable_corrector: Vec::new(),
            final_sigmas_type: FinalSigmas::Zero,
        }
    }
}

/// The factors of a predictor or corrector: of x, of the prediction at the new level (a corrector's), and of those at the level where
/// the step began and before it.
struct Update {
    x: f64,
    new: f64,
    old: Vec<f64>,
}

impl UniPc {
    /// The update of `order` from level `s` to level `s + 1`.
    fn update(&self, all: &[Level], s: usize, order: usize, corrects: bool) -> Result<Update> {
        let (from, to) = (all[s].node, all[s + 1].node);
        let lambda = |node: Node| -node.ratio.ln();
        let h = lambda(to) - lambda(from);
        let (sign, x, scale) = match self.predict_x0 {
            true => (-1.0, to.std / from.std, to.mean),
            false => (1.0, to.mean / from.mean, to.std),
        };
        let hh = sign * h;
        let whole = hh.exp_m1();
        // A step of order 1 has no differences, and may be infinite; one of no length has none either.
        if order == 1 && !corrects || h == 0.0 {
            return Ok(Update { x, new: 0.0, old: vec![-scale * whole] });
        }
        let b_h = if self.solver_type == SolverType::Bh1 { hh } else { whole };
        let mut points: Vec<f64> = (1..order).map(|i| (lambda(all[s - i].node) - lambda(from)) / h).collect();
        points.push(1.0);
        let (mut phi, mut factorial) = (whole / hh - 1.0, 1.0);
        let mut b = Vec::with_capacity(order);
        for i in 1..=order {
            b.push(phi * factorial / b_h);
            factorial *= (i + 1) as f64;
            phi = phi / hh - 1.0 / factorial;
        }
        let known = if corrects { order } else { order - 1 };
        let weights = match (corrects, order) {
            (true, 1) | (false, 2) => vec![0.5],
            _ => solve(&points[..known], &b[..known]),
        };
        // D_i = (m_i − m0)/r_i, and for a corrector D = m_new − m0.
        let mut old = vec![-scale * whole; 1];
        let mut new = 0.0;
        for (i, weight) in weights.iter().enumerate() {
            let factor = -scale * b_h * weight / points[i];
            old[0] -= factor;
            if i + 1 < order { old.push(factor) } else { new = factor }
        }
        Ok(Update { x, new, old })
    }
}

/// The weights w with Σ_k points_k^i · w_k = b_i.
fn solve(points: &[f64], b: &[f64]) -> Vec<f64> {
    let n = points.len();
    let mut rows: Vec<Vec<f64>> =
        (0..n).map(|i| points.iter().map(|p| p.powi(i as i32)).chain([b[i]]).collect()).collect();
    for k in 0..n {
        let pivot = (k..n).max_by(|&i, &j| rows[i][k].abs().total_cmp(&rows[j][k].abs())).unwrap_or(k);
        rows.swap(k, pivot);
        let (done, rest) = rows.split_at_mut(k + 1);
        for row in rest {
            let factor = row[k] / done[k][k];
            row.iter_mut().zip(&done[k]).skip(k).for_each(|(to, pivot)| *to -= factor * pivot);
        }
    }
    let mut w = vec![0.0; n];
    for k in (0..n).rev() {
        let rest: f64 = (k + 1..n).map(|j| rows[k][j] * w[j]).sum();
        w[k] = (rows[k][n] - rest) / rows[k][k];
    }
    w
}

impl Schedule for UniPc {
    fn run(&self, steps: usize, _: &SolverOptions) -> Result<SolverRun> {
        if !(1..SLOTS).contains(&self.solver_order) {
            let problem = format!("orders 1 to {} are computed", SLOTS - 1);
            return Err(Error::invalid("solver_order", self.solver_order, problem));
        }
        let spaced = self.sigmas.use_karras_sigmas || self.sigmas.use_exponential_sigmas;
        let levels = self.sigmas.levels(steps, Family::Multistep { exact: false }, None)?;
        let last = match (self.final_sigmas_type, levels.run.last()) {
            (FinalSigmas::SigmaMin, Some(&last)) if spaced => last,
            (kind, _) => levels.last(kind),
        };
        let n = levels.run.len();
        let all: Vec<Level> = levels.run.into_iter().chain([last]).collect();
        let history = History::new(self.solver_order);
        let mut rows = Vec::with_capacity(n);
        let mut order_before = 0;
        for i in 0..n {
            let left = if self.lower_order_final { n - i } else { n };
            let order = self.solver_order.min(left).min(i + 1);
            let predicts = self.update(&all, i, order, false)?;
            // Of the predictions at this level and the ones before.
            let mut factors = vec![0.0; self.solver_order + 1];
            factors.iter_mut().zip(&predicts.old).for_each(|(to, f)| *to += f);
            if i > 0 && !self.disable_corrector.contains(&(i - 1)) {
                let corrects = self.update(&all, i - 1, order_before, true)?;
                let predicted = self.update(&all, i - 1, order_before, false)?;
                factors[0] += predicts.x * corrects.new;
                for (j, factor) in corrects.old.iter().enumerate() {
                    factors[j + 1] += predicts.x * (factor - predicted.old.get(j).unwrap_or(&0.0));
                }
            }
            order_before = order;
            let kept = match self.predict_x0 {
                true => self.sigmas.prediction_type.data(all[i].node),
                false => self.sigmas.prediction_type.noise(all[i].node),
            };
            rows.push(history.row(SolverRow { x: predicts.x, ..all[i].row(kept) }, i, &factors));
        }
        let table = SolverTable { rows, prior_std: 1.0, clip: None, slots: history.slots() };
        Ok(SolverRun::Rows { table: table.checked(CLASS.name)?, raw_output: true })
    }
}
