//! `EulerDiscreteScheduler`, `EulerAncestralDiscreteScheduler` and `HeunDiscreteScheduler`: Algorithms 1 and 2 of Karras et al. 2022 on the
//! noise levels of a chain, without churn.
//!
//! Their x = x_0 + σ ε is given to the network over √(σ² + 1). Here the state is what the network is given, α x with α = 1/√(σ² + 1), up to
//! the end, where it is x.

use serde::Deserialize;

use super::sigmas::{Family, FinalSigmas, Level, SigmaKeys, exponential, timestep_of};
use super::{Class, PredictionType, Schedule, TimestepSpacing, read};
use crate::error::{Error, Result};
use crate::sampling::few_step::{SolverRow, SolverTable};
use crate::sampling::solvers::{SolverOptions, SolverRun};

pub(super) const EULER: Class =
    Class { name: "EulerDiscreteScheduler", takes: &["steps"], steps: 50, read: read::<Euler> };
pub(super) const ANCESTRAL: Class = Class {
    name: "EulerAncestralDiscreteScheduler",
    takes: &["steps"],
    steps: 50,
    read: read::<EulerAncestral>,
};
pub(super) const HEUN: Class =
    Class { name: "HeunDiscreteScheduler", takes: &["steps"], steps: 50, read: read::<Heun> };

/// How levels lie between timesteps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InterpolationType {
    /// Evenly.
    Linear,
    /// From end to end of the chain, evenly in the logarithm.
    LogLinear,
}

/// What the network is told about time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestepType {
    /// The timestep.
    Discrete,
    /// ln σ / 4 where the network predicts v; else the timestep all the same.
    Continuous,
}

/// Fields and defaults are diffusers'.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Euler {
    /// The chain and its levels.
    #[serde(flatten)]
    pub sigmas: SigmaKeys,
    /// How levels lie between timesteps.
    pub interpolation_type: InterpolationType,
    /// What the network is told about time.
    pub timestep_type: TimestepType,
    /// Where the last step ends.
    pub final_sigmas_type: FinalSigmas,
}

impl Default for Euler {
    fn default() -> Self {
        Self {
            sigmas: SigmaKeys::default(),
            interpolation_type: InterpolationType::Linear,
            timestep_type: TimestepType::Discrete,
            final_sigmas_type: FinalSigmas::Zero,
        }
    }
}

/// Fields and defaults are diffusers'.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct EulerAncestral {
    /// The chain and its levels.
    #[serde(flatten)]
    pub sigmas: SigmaKeys,
}

/// Fields and defaults are diffusers'.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Heun {
    /// The chain and its levels. Where they are not given, its βs are other ones than those of the other schedulers.
    #[serde(flatten)]
    pub sigmas: SigmaKeys,
    /// Of the chain; [`HEUN_BETAS`] unless given.
    #[serde(rename = "beta_start")]
    pub beta_start: Option<f64>,
    /// Of the chain; [`HEUN_BETAS`] unless given.
    #[serde(rename = "beta_end")]
    pub beta_end: Option<f64>,
    /// The prediction of x_0 is clamped.
    pub clip_sample: bool,
    /// To ± this.
    pub clip_sample_range: f64,
}

impl Default for Heun {
    fn default() -> Self {
        Self {
            sigmas: SigmaKeys::default(),
            beta_start: None,
            beta_end: None,
            clip_sample: false,
            clip_sample_range: 1.0,
        }
    }
}

/// The first and last β of a `HeunDiscreteScheduler` that says none.
pub const HEUN_BETAS: [f64; 2] = [0.00085, 0.012];

/// A level, and by what x is multiplied where the network is given it.
#[derive(Clone, Copy)]
struct Scaled {
    level: Level,
    /// Of x here.
    sigma: f64,
    scale: f64,
}

impl Scaled {
    fn new(level: Level) -> Self {
        Self { level, sigma: level.node.ratio, scale: level.node.mean }
    }

    /// Where a run ends: x is the result.
    fn end(level: Level) -> Self {
        Self { scale: 1.0, ..Self::new(level) }
    }
}

/// The levels of a run and its end.
fn scaled(run: &[Level], end: Level) -> Vec<Scaled> {
    run.iter().map(|&level| Scaled::new(level)).chain([Scaled::end(end)]).collect()
}

/// The deviation of the state at the beginning.
fn prior_std(sigmas: &SigmaKeys, all: &[Scaled]) -> f64 {
    let largest = all.iter().map(|s| s.sigma).fold(0.0, f64::max);
    let first = match sigmas.timestep_spacing {
        TimestepSpacing::Leading => largest.hypot(1.0),
        _ => largest,
    };
    first * all[0].scale
}

/// x' = x + (x − x̂_0)/σ · (to − σ), for the state at `from` and `end`.
fn euler(sigmas: &SigmaKeys, from: Scaled, end: Scaled, to: f64) -> SolverRow {
    let keep = to / from.sigma;
    SolverRow {
        x: end.scale / from.scale * keep,
        kept: end.scale * (1.0 - keep),
        ..from.level.row(sigmas.prediction_type.data(from.level.node))
    }
}

impl Schedule for Euler {
    fn run(&self, steps: usize, _: &SolverOptions) -> Result<SolverRun> {
        let log_linear = self.interpolation_type == InterpolationType::LogLinear;
        let mut sigmas = self.sigmas.clone();
        if log_linear {
            // Spacings begin and end with the chain then, not with the run.
            let chain = sigmas.chain.ratios()?;
            sigmas.sigma_min = sigmas.sigma_min.or(chain.first().copied());
            sigmas.sigma_max = sigmas.sigma_max.or(chain.last().copied());
        }
        let mut levels = sigmas.levels(steps, Family::Euler, None)?;
        if log_linear && !sigmas.use_karras_sigmas && !sigmas.use_exponential_sigmas {
            // One level more than steps, as in diffusers: the run ends at it, or goes one step on where the network is told σ.
            let n = levels.chain.len();
            let even = exponential(levels.chain[0], levels.chain[n - 1], steps + 1);
            if self.tells_sigma() {
                let level = |&r: &f64| Level::new(timestep_of(r, &levels.chain), r, n);
                levels.run = even.iter().map(level).collect();
            } else {
                let level = |(at, &r): (&Level, &f64)| Level::new(at.timestep, r, n);
                levels.run = levels.run.iter().zip(&even).map(level).collect();
                return self.table(&levels.run, Level::new(0.0, even[steps], n));
            }
        }
        let last = levels.last(self.final_sigmas_type);
        self.table(&levels.run, last)
    }
}

impl Euler {
    fn tells_sigma(&self) -> bool {
        self.timestep_type == TimestepType::Continuous
            && self.sigmas.prediction_type == PredictionType::VPrediction
    }

    fn table(&self, run: &[Level], last: Level) -> Result<SolverRun> {
        let all = scaled(run, last);
        let rows = all.windows(2).map(|pair| {
            let row = euler(&self.sigmas, pair[0], pair[1], pair[1].sigma);
            let argument = if self.tells_sigma() { 0.25 * pair[0].sigma.ln() } else { row.argument };
            SolverRow { argument, ..row }
        });
        let prior_std = prior_std(&self.sigmas, &all);
        let table = SolverTable { rows: rows.collect(), prior_std, clip: None, slots: 0 };
        Ok(SolverRun::Rows { table: table.checked(EULER.name)?, raw_output: true })
    }
}

impl Schedule for EulerAncestral {
    fn run(&self, steps: usize, _: &SolverOptions) -> Result<SolverRun> {
        if self.sigmas.prediction_type == PredictionType::Sample {
            let problem = "EulerAncestralDiscreteScheduler takes epsilon or v_prediction; EulerDiscreteScheduler takes it";
            return Err(Error::invalid("prediction_type", "sample", problem));
        }
        // It has no other levels than those of its timesteps.
        let sigmas =
            SigmaKeys { use_karras_sigmas: false, use_exponential_sigmas: false, ..self.sigmas.clone() };
        let levels = sigmas.levels(steps, Family::Euler, None)?;
        let all = scaled(&levels.run, levels.last(FinalSigmas::Zero));
        let rows = all.windows(2).map(|pair| {
            let (from, to) = (pair[0].sigma, pair[1].sigma);
            let up = (to * to * (from - to) * (from + to)).sqrt() / from;
            let down = (to * to - up * up).sqrt();
            let row = euler(&sigmas, pair[0], pair[1], down);
            SolverRow { noise: pair[1].scale * up, draws: true, ..row }
        });
        let prior_std = prior_std(&sigmas, &all);
        let table = SolverTable { rows: rows.collect(), prior_std, clip: None, slots: 0 };
        Ok(SolverRun::Rows { table: table.checked(ANCESTRAL.name)?, raw_output: true })
    }
}

impl Schedule for Heun {
    fn run(&self, steps: usize, _: &SolverOptions) -> Result<SolverRun> {
        if !(self.clip_sample_range > 0.0 && self.clip_sample_range.is_finite()) {
            return Err(Error::invalid("clip_sample_range", self.clip_sample_range, "it is above 0"));
        }
        let mut sigmas = self.sigmas.clone();
        sigmas.chain.beta_start = self.beta_start.unwrap_or(HEUN_BETAS[0]);
        sigmas.chain.beta_end = self.beta_end.unwrap_or(HEUN_BETAS[1]);
        let levels = sigmas.levels(steps, Family::Euler, None)?;
        let all = scaled(&levels.run, levels.last(FinalSigmas::Zero));
        let mut rows = Vec::with_capacity(2 * steps);
        for pair in all.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let first = euler(&sigmas, from, to, to.sigma);
            if to.sigma == 0.0 {
                rows.push(first);
                continue;
            }
            // x + (x − k)/σ · dt/2 + (x' − k')/σ' · dt/2, with x and k of the first evaluation.
            let half = 0.5 * (to.sigma - from.sigma);
            let mut second = to.level.row(sigmas.prediction_type.data(to.level.node));
            second.x = half / to.sigma;
            second.kept = -to.scale * half / to.sigma;
            second.before[0] = -to.scale * half / from.sigma;
            second.before[1] = to.scale / from.scale * (1.0 + half / from.sigma);
            rows.push(SolverRow { keep_in: Some(0), keep_x_in: Some(1), ends_step: false, ..first });
            rows.push(second);
        }
        let clip = self.clip_sample.then_some(self.clip_sample_range);
        let table = SolverTable { rows, prior_std: prior_std(&sigmas, &all), clip, slots: 2 };
        Ok(SolverRun::Rows { table: table.checked(HEUN.name)?, raw_output: true })
    }
}
