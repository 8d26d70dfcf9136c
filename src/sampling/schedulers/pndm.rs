//! `PNDMScheduler`: pseudo numerical methods on the manifold of the chain (Liu et al. 2022): three Runge-Kutta steps of four evaluations,
//! then a linear multistep method of order 4; or, with `skip_prk_steps`, the multistep method from the beginning.

use serde::Deserialize;

use super::chain::{Chain, PredictionType};
use super::sigmas::{evenly, trailing};
use super::{Class, Schedule, TimestepSpacing, read};
use crate::error::{Error, Result};
use crate::sampling::few_step::{Node, SolverRow, SolverTable};
use crate::sampling::solvers::{SolverOptions, SolverRun};

pub(super) const CLASS: Class =
    Class { name: "PNDMScheduler", takes: &["steps"], steps: 50, read: read::<Pndm> };

/// Fields and defaults are diffusers'.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Pndm {
    /// The βs.
    #[serde(flatten)]
    pub chain: Chain,
    /// No Runge-Kutta steps at the beginning.
    pub skip_prk_steps: bool,
    /// The last step goes to ᾱ = 1; else to the first of the chain.
    pub set_alpha_to_one: bool,
    /// What the network predicts: the noise or v.
    pub prediction_type: PredictionType,
    /// Which timesteps are visited.
    pub timestep_spacing: TimestepSpacing,
    /// Added to the timesteps of the `leading` spacing.
    pub steps_offset: usize,
}

impl Default for Pndm {
    fn default() -> Self {
        Self {
            chain: Chain::default(),
            skip_prk_steps: false,
            set_alpha_to_one: false,
            prediction_type: PredictionType::Epsilon,
            timestep_spacing: TimestepSpacing::Leading,
            steps_offset: 0,
        }
    }
}

/// Kept outputs of the multistep method, then those of a Runge-Kutta step, then its state.
const STEPS: [usize; 3] = [0, 1, 2];
const STAGES: [usize; 2] = [3, 4];
const STATE: usize = 5;
/// Of outputs, the newest first (Adams and Bashforth).
const MULTISTEP: [&[f64]; 4] = [
    &[1.0],
    &[3.0 / 2.0, -1.0 / 2.0],
    &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
    &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
];

/// An evaluation: at a timestep, from a state at another to a third (below 0 the end), with factors of outputs.
struct Step {
    asked: i64,
    from: i64,
    to: i64,
    /// The state is that at which a Runge-Kutta step began.
    from_kept: bool,
    /// Of this output, and of those in slots.
    factors: Vec<(Option<usize>, f64)>,
    keep_in: Option<usize>,
    keeps_state: bool,
}

impl Pndm {
    /// Timesteps in rising order.
    fn spaced(&self, steps: usize) -> Vec<i64> {
        let n = self.chain.num_train_timesteps;
        let all: Vec<f64> = match self.timestep_spacing {
            TimestepSpacing::Linspace => evenly(n - 1, steps).into_iter().map(f64::round_ties_even).collect(),
            TimestepSpacing::Leading => {
                (0..steps).map(|i| (i * (n / steps)).saturating_add(self.steps_offset) as f64).collect()
            }
            TimestepSpacing::Trailing => {
                trailing(n, n as f64 / steps as f64, steps).into_iter().rev().collect()
            }
        };
        all.into_iter().map(|t| t as i64).collect()
    }

    /// Three Runge-Kutta steps of the classical method.
    fn runge_kutta(&self, spaced: &[i64], half: i64) -> Vec<Step> {
        // Each of the last four timesteps and the one half a stride above it, every one twice.
        let twice: Vec<i64> =
            spaced[spaced.len() - 4..].iter().flat_map(|&t| [t, t + half]).take(7).collect();
        let all: Vec<i64> = twice.iter().flat_map(|&t| [t, t]).collect();
        let visited: Vec<i64> = all[1..all.len() - 1].iter().rev().copied().collect();
        let step = |i: usize| {
            let (number, stage) = (i / 4, i % 4);
            let [second, third] = STAGES.map(Some);
            let first = Some(STEPS[number]);
            let (factors, keep_in) = match stage {
                0 => (vec![(None, 1.0)], first),
                1 => (vec![(None, 1.0)], second),
                2 => (vec![(None, 1.0)], third),
                _ => {
                    let sixth = 1.0 / 6.0;
                    (vec![(first, sixth), (second, 2.0 * sixth), (third, 2.0 * sixth), (None, sixth)], None)
                }
            };
            let down = if i.is_multiple_of(2) { half } else { 0 };
            let (asked, from) = (visited[i], visited[4 * number]);
            let to = asked - down;
            Step { asked, from, to, from_kept: stage > 0, factors, keep_in, keeps_state: stage == 0 }
        };
        (0..12).map(step).collect()
    }

    /// Steps of the multistep method at `visited`, of which `known` outputs are kept already.
    fn multistep(&self, visited: &[i64], known: usize, stride: i64) -> Vec<Step> {
        let mut steps = Vec::with_capacity(visited.len());
        for (i, &asked) in visited.iter().enumerate() {
            let again = known == 0 && i == 1;
            // The second evaluation without Runge-Kutta steps goes over the first step again, with the mean of both outputs.
            let number = if known == 0 && i > 0 { i - 1 } else { known + i };
            if again {
                let factors = vec![(Some(STEPS[0]), 0.5), (None, 0.5)];
                let (from, to) = (asked + stride, asked);
                steps.push(Step {
                    asked,
                    from,
                    to,
                    from_kept: true,
                    factors,
                    keep_in: None,
                    keeps_state: false,
                });
                continue;
            }
            let weights = MULTISTEP[number.min(3)];
            let of = |(j, weight): (usize, &f64)| match j {
                0 => (None, *weight),
                _ => (Some(STEPS[(number - j) % 3]), *weight),
            };
            steps.push(Step {
                asked,
                from: asked,
                to: asked - stride,
                from_kept: false,
                factors: weights.iter().enumerate().map(of).collect(),
                keep_in: Some(STEPS[number % 3]),
                keeps_state: known == 0 && i == 0,
            });
        }
        steps
    }

    fn steps(&self, steps: usize) -> Result<Vec<Step>> {
        let n = self.chain.num_train_timesteps;
        let least = if self.skip_prk_steps { 1 } else { 4 };
        if !(least..=n).contains(&steps) {
            return Err(Error::invalid("steps", steps, format!("this scheduler takes {least} to {n} steps")));
        }
        let spaced = self.spaced(steps);
        let stride = n as i64 / steps as i64;
        if self.skip_prk_steps {
            let mut visited = spaced.clone();
            if let [.., before, _] = spaced[..] {
                visited.insert(visited.len() - 1, before);
            }
            visited.reverse();
            return Ok(self.multistep(&visited, 0, stride));
        }
        let mut all = self.runge_kutta(&spaced, stride / 2);
        let rest: Vec<i64> = spaced[..spaced.len() - 3].iter().rev().copied().collect();
        all.extend(self.multistep(&rest, 3, stride));
        Ok(all)
    }
}

impl Schedule for Pndm {
    fn run(&self, steps: usize, _: &SolverOptions) -> Result<SolverRun> {
        if self.prediction_type == PredictionType::Sample {
            let problem = "PNDMScheduler takes epsilon or v_prediction";
            return Err(Error::invalid("prediction_type", "sample", problem));
        }
        let chain = self.chain.ratios()?;
        let n = chain.len();
        let last = if self.set_alpha_to_one { 0.0 } else { chain[0] };
        let node = |t: i64| -> Result<Node> {
            match usize::try_from(t) {
                Err(_) => Ok(Node::of_ratio(0.0, last)),
                Ok(t) if t < n => Ok(Node::of_ratio(t as f64 / n as f64, chain[t])),
                Ok(t) => {
                    let problem =
                        format!("{steps} steps would visit timestep {t}, the chain ends at {}", n - 1);
                    Err(Error::invalid("steps_offset", self.steps_offset, problem))
                }
            }
        };
        let mut rows = Vec::new();
        for step in self.steps(steps)? {
            let (at, from, to) = (node(step.asked)?, node(step.from)?, node(step.to)?);
            // x = (α'/α) x + α' (r' − r) ε on the way from one level to another.
            let [mut of_x, mut of_output] = [to.mean / from.mean, to.mean * (to.ratio - from.ratio)];
            if self.prediction_type == PredictionType::VPrediction {
                let [x, output] = PredictionType::VPrediction.noise(from);
                (of_x, of_output) = (of_x + of_output * x, of_output * output);
            }
            let mut row = SolverRow {
                t: at.t,
                argument: step.asked as f64,
                std: at.std,
                kept_output: 1.0,
                keep_in: step.keep_in,
                keep_x_in: step.keeps_state.then_some(STATE),
                ..SolverRow::NOTHING
            };
            match step.from_kept {
                true => row.before[STATE] = of_x,
                false => row.x = of_x,
            }
            for (slot, factor) in step.factors {
                match slot {
                    Some(slot) => row.before[slot] += of_output * factor,
                    None => row.kept += of_output * factor,
                }
            }
            rows.push(row);
        }
        let table = SolverTable { rows, prior_std: 1.0, clip: None, slots: STATE + 1 };
        Ok(SolverRun::Rows { table: table.checked(CLASS.name)?, raw_output: true })
    }
}
