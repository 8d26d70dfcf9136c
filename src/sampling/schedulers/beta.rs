//! `DDPMScheduler` and `DDIMScheduler`: their configuration and the timesteps that a run visits.

use serde::Deserialize;

use super::chain::{Chain, PredictionType};
use super::{Class, Schedule, read};
use crate::sampling::solvers::{SolverOptions, SolverRun};
use crate::{Error, Result};

/// The variance of DDPM's step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VarianceType {
    /// That of q(x_{t−1} | x_t, x_0).
    FixedSmall,
    /// The same, by way of its logarithm.
    FixedSmallLog,
    /// β_t.
    FixedLarge,
    /// ln β_t; diffusers takes its square root, which is not a number.
    FixedLargeLog,
    /// Predicted by the network.
    Learned,
    /// Interpolated by the network.
    LearnedRange,
}

/// Which timesteps a run of fewer steps visits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestepSpacing {
    /// Evenly with both ends, rounded.
    Linspace,
    /// Multiples of an integer stride, from 0.
    Leading,
    /// Even strides down from the end.
    Trailing,
}

/// `DDPMScheduler` and `DDIMScheduler`. Fields and defaults are diffusers'.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct BetaScheduler {
    /// The βs.
    #[serde(flatten)]
    pub chain: Chain,
    /// DDPM only.
    pub variance_type: VarianceType,
    /// The prediction of x_0 is clamped.
    pub clip_sample: bool,
    /// To ± this.
    pub clip_sample_range: f64,
    /// What the network predicts.
    pub prediction_type: PredictionType,
    /// Dynamic thresholding; not supported.
    pub thresholding: bool,
    /// Which timesteps are visited.
    pub timestep_spacing: TimestepSpacing,
    /// Added to the timesteps of the `leading` spacing.
    pub steps_offset: usize,
    /// DDIM only: the last step goes to ᾱ = 1; else to the first of the chain.
    pub set_alpha_to_one: bool,
}

impl Default for BetaScheduler {
    fn default() -> Self {
        Self {
            chain: Chain::default(),
            variance_type: VarianceType::FixedSmall,
            clip_sample: true,
            clip_sample_range: 1.0,
            prediction_type: PredictionType::Epsilon,
            thresholding: false,
            timestep_spacing: TimestepSpacing::Leading,
            steps_offset: 0,
            set_alpha_to_one: true,
        }
    }
}

/// `DDPMScheduler`.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Ddpm(BetaScheduler);

/// `DDIMScheduler`.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Ddim(BetaScheduler);

pub(super) const DDPM: Class =
    Class { name: "DDPMScheduler", takes: &["steps"], steps: 1000, read: read::<Ddpm> };
pub(super) const DDIM: Class =
    Class { name: "DDIMScheduler", takes: &["steps", "eta"], steps: 50, read: read::<Ddim> };

impl Schedule for Ddpm {
    fn run(&self, steps: usize, _: &SolverOptions) -> Result<SolverRun> {
        Ok(SolverRun::Rows { table: self.0.ddpm(steps)?, raw_output: true })
    }

    /// Its pipeline takes every timestep.
    fn steps(&self) -> Option<usize> {
        Some(self.0.chain.num_train_timesteps)
    }
}

impl Schedule for Ddim {
    fn run(&self, steps: usize, options: &SolverOptions) -> Result<SolverRun> {
        Ok(SolverRun::Rows { table: self.0.ddim(steps, options.eta.unwrap_or(0.0))?, raw_output: true })
    }

    fn words(&self, options: &SolverOptions) -> String {
        format!(", eta {}", options.eta.unwrap_or(0.0))
    }
}

impl BetaScheduler {
    /// The timesteps that `steps` steps visit, descending. Fails where there are more steps than timesteps, or an
    /// offset leads out of the chain.
    pub fn timesteps(&self, steps: usize) -> Result<Vec<usize>> {
        let n = self.chain.num_train_timesteps;
        if steps == 0 || steps > n {
            return Err(Error::invalid("steps", steps, format!("this scheduler takes 1 to {n} steps")));
        }
        let timesteps: Vec<usize> = match self.timestep_spacing {
            TimestepSpacing::Leading => {
                (0..steps).rev().map(|i| (i * (n / steps)).saturating_add(self.steps_offset)).collect()
            }
            TimestepSpacing::Linspace => {
                // Multiplied out as numpy does, since halves occur and are rounded.
                let stride = (n - 1) as f64 / (steps.max(2) - 1) as f64;
                (0..steps).rev().map(|i| (i as f64 * stride).round_ties_even() as usize).collect()
            }
            TimestepSpacing::Trailing => {
                let stride = n as f64 / steps as f64;
                (0..steps)
                    .map(|i| (n as f64 - i as f64 * stride).round_ties_even() as usize)
                    .map(|t| t.max(1) - 1)
                    .collect()
            }
        };
        match timesteps.first() {
            Some(&first) if first >= n => Err(Error::invalid(
                "steps_offset",
                self.steps_offset,
                format!("{steps} steps would begin at timestep {first}, the chain ends at {}", n - 1),
            )),
            _ => Ok(timesteps),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timesteps_of_each_spacing() {
        let with = |timestep_spacing, steps_offset| BetaScheduler {
            timestep_spacing,
            steps_offset,
            ..Default::default()
        };
        let leading = with(TimestepSpacing::Leading, 1);
        assert_eq!(leading.timesteps(4).unwrap(), [751, 501, 251, 1]);
        assert_eq!(leading.timesteps(3).unwrap(), [667, 334, 1]);
        assert!(leading.timesteps(1000).unwrap_err().to_string().contains("steps_offset"));
        assert_eq!(with(TimestepSpacing::Trailing, 0).timesteps(4).unwrap(), [999, 749, 499, 249]);
        assert_eq!(with(TimestepSpacing::Linspace, 0).timesteps(3).unwrap(), [999, 500, 0]);
        assert!(leading.timesteps(0).is_err() && leading.timesteps(1001).is_err());
    }
}
