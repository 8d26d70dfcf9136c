//! `DPMSolverMultistepScheduler`: DPM-Solver and DPM-Solver++ of orders 1 to 3, with and without noise.

use serde::Deserialize;

use super::sigmas::{Family, FinalSigmas, Level, Levels, SigmaKeys, karras};
use super::{Class, History, Schedule, read};
use crate::error::{Error, Result};
use crate::sampling::dpm::{AlgorithmType, Gains, SolverType};
use crate::sampling::few_step::{SolverRow, SolverTable};
use crate::sampling::solvers::{SolverOptions, SolverRun};

pub(super) const CLASS: Class =
    Class { name: "DPMSolverMultistepScheduler", takes: &["steps"], steps: 50, read: read::<DpmMultistep> };

/// Fields and defaults are diffusers'.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct DpmMultistep {
    /// The chain and its levels.
    #[serde(flatten)]
    pub sigmas: SigmaKeys,
    /// From 1 to 3.
    pub solver_order: usize,
    /// What is predicted, and whether noise is added.
    pub algorithm_type: AlgorithmType,
    /// How the difference enters an update of second order.
    pub solver_type: SolverType,
    /// The last steps of a short run are of lower order.
    pub lower_order_final: bool,
    /// The last step is of order 1.
    pub euler_at_final: bool,
    /// σ evenly in λ (Lu et al. 2022).
    pub use_lu_lambdas: bool,
    /// Where the last step ends.
    pub final_sigmas_type: FinalSigmas,
    /// Timesteps whose λ = ln(α/σ) lies below this are left out.
    pub lambda_min_clipped: Option<f64>,
}

impl Default for DpmMultistep {
    fn default() -> Self {
        Self {
            sigmas: SigmaKeys::default(),
            solver_order: 2,
            algorithm_type: AlgorithmType::DpmSolverPp,
            solver_type: SolverType::Midpoint,
            lower_order_final: true,
            euler_at_final: false,
            use_lu_lambdas: false,
            final_sigmas_type: FinalSigmas::Zero,
            lambda_min_clipped: None,
        }
    }
}

/// How many timesteps of the chain have a λ of at least `lambda_min`.
pub(super) fn unclipped(sigmas: &SigmaKeys, lambda_min: Option<f64>) -> Result<usize> {
    let chain = sigmas.chain.ratios()?;
    let clipped = |r: &&f64| lambda_min.is_some_and(|min| -r.ln() < min);
    match chain.len() - chain.iter().filter(clipped).count() {
        0 => {
            Err(Error::invalid("lambda_min_clipped", lambda_min.unwrap_or(f64::NAN), "it leaves no timestep"))
        }
        last => Ok(last),
    }
}

/// What DPM-Solver of diffusers refuses, for both of its schedulers.
pub(super) fn check(order: usize, algorithm: AlgorithmType, last: FinalSigmas) -> Result<()> {
    if !(1..=3).contains(&order) {
        return Err(Error::invalid("solver_order", order, "DPM-Solver has orders 1 to 3"));
    }
    if !algorithm.of_data() && last == FinalSigmas::Zero {
        let problem =
            "DPM-Solver predicts the noise, of which there is none at the end; use sigma_min, or dpmsolver++";
        return Err(Error::invalid("final_sigmas_type", "zero", problem));
    }
    if order == 3 && algorithm == AlgorithmType::SdeDpmSolver {
        let problem = "sde-dpmsolver has orders 1 and 2; use one of these, or sde-dpmsolver++";
        return Err(Error::invalid("solver_order", order, problem));
    }
    Ok(())
}

/// The row that keeps the prediction of the algorithm at a level.
pub(super) fn keeps(sigmas: &SigmaKeys, algorithm: AlgorithmType, at: Level) -> SolverRow {
    let kept = match algorithm.of_data() {
        true => sigmas.prediction_type.data(at.node),
        false => sigmas.prediction_type.noise(at.node),
    };
    SolverRow { draws: algorithm.draws(), ..at.row(kept) }
}

impl DpmMultistep {
    fn levels(&self, steps: usize) -> Result<Levels> {
        let last = unclipped(&self.sigmas, self.lambda_min_clipped)?;
        // diffusers rounds the timesteps of other schedules than the cosine.
        let exact = self.sigmas.chain.beta_schedule == super::BetaSchedule::SquaredcosCapV2;
        let mut levels = self.sigmas.levels(steps, Family::Multistep { exact }, Some(last))?;
        if self.use_lu_lambdas && !self.sigmas.use_karras_sigmas {
            let (low, high) = (levels.chain[0], levels.chain[levels.chain.len() - 1]);
            let n = levels.chain.len();
            // Evenly in ln σ, which is Karras's rule at rho 1 for the logarithms.
            let even = karras(low.ln(), high.ln(), steps, 1.0);
            let level = |log: &f64| {
                let t = super::sigmas::timestep_of(log.exp(), &levels.chain);
                Level::new(if exact { t.trunc() } else { t.round_ties_even() }, log.exp(), n)
            };
            levels.run = even.iter().map(level).collect();
        }
        Ok(levels)
    }

    /// The order of step `i` of `n`.
    fn order(&self, i: usize, n: usize) -> usize {
        let short = self.lower_order_final && n < 15;
        let last =
            i + 1 == n && (self.euler_at_final || short || self.final_sigmas_type == FinalSigmas::Zero);
        let before_last = i + 2 == n && short;
        let most = match (last, before_last) {
            (true, _) => 1,
            (_, true) => 2,
            _ => 3,
        };
        self.solver_order.min(i + 1).min(most)
    }
}

impl Schedule for DpmMultistep {
    fn run(&self, steps: usize, _: &SolverOptions) -> Result<SolverRun> {
        check(self.solver_order, self.algorithm_type, self.final_sigmas_type)?;
        let levels = self.levels(steps)?;
        let all: Vec<Level> =
            levels.run.iter().copied().chain([levels.last(self.final_sigmas_type)]).collect();
        let n = levels.run.len();
        let history = History::new(self.solver_order - 1);
        let lambda = |i: usize| -all[i].node.ratio.ln();
        let rows = (0..n).map(|i| {
            let gains = self.algorithm_type.gains(all[i].node, all[i + 1].node);
            let h = lambda(i + 1) - lambda(i);
            // Of the predictions at this level and the ones before.
            // A step of no length has no differences.
            let factors = match if h == 0.0 { 1 } else { self.order(i, n) } {
                1 => vec![gains.zeroth],
                2 => second(&gains, self.solver_type, (lambda(i) - lambda(i - 1)) / h),
                _ => {
                    let r = [(lambda(i) - lambda(i - 1)) / h, (lambda(i - 1) - lambda(i - 2)) / h];
                    third(&gains, r)
                }
            };
            let row = keeps(&self.sigmas, self.algorithm_type, all[i]);
            history.row(SolverRow { x: gains.x, noise: gains.noise, ..row }, i, &factors)
        });
        let table = SolverTable { rows: rows.collect(), prior_std: 1.0, clip: None, slots: history.slots() };
        Ok(SolverRun::Rows { table: table.checked(CLASS.name)?, raw_output: true })
    }
}

/// D0 = m0, D1 = (m0 − m1)/r.
fn second(gains: &Gains, kind: SolverType, r: f64) -> Vec<f64> {
    let first = gains.first(kind) / r;
    vec![gains.zeroth + first, -first]
}

/// With D1_0 = (m0 − m1)/r0 and D1_1 = (m1 − m2)/r1: D1 = D1_0 + r0/(r0+r1) (D1_0 − D1_1), D2 = (D1_0 − D1_1)/(r0+r1).
fn third(gains: &Gains, [r0, r1]: [f64; 2]) -> Vec<f64> {
    let (first, second) = (gains.first(SolverType::Heun), gains.second.unwrap_or(0.0));
    let twice = (first * r0 + second) / (r0 + r1);
    let (of_0, of_1) = ((first + twice) / r0, -twice / r1);
    vec![gains.zeroth + of_0, -of_0 + of_1, -of_1]
}
