//! The configuration of `DDPMScheduler` and `DDIMScheduler`: βs, ᾱs and the timesteps that a run visits.

use serde::Deserialize;

use crate::sde::linspace;
use crate::{Error, Result};

/// How the βs run over the training timesteps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// Evenly.
    Linear,
    /// Evenly in √β.
    ScaledLinear,
    /// The cosine schedule of Nichol and Dhariwal 2021.
    #[serde(rename = "squaredcos_cap_v2")]
    SquaredcosCapV2,
    /// A logistic curve between the ends.
    Sigmoid,
}

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

/// What the network predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictionType {
    /// The noise.
    Epsilon,
    /// x_0.
    Sample,
    /// v = √ᾱ ε − √(1−ᾱ) x_0.
    VPrediction,
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

/// `DDPMScheduler` and `DDIMScheduler`: a chain of βs. Fields and defaults are diffusers'.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct BetaScheduler {
    /// The number of timesteps of the chain.
    pub num_train_timesteps: usize,
    /// The first β.
    pub beta_start: f64,
    /// The last β.
    pub beta_end: f64,
    /// What lies between.
    pub beta_schedule: BetaSchedule,
    /// The βs themselves, in place of a schedule.
    pub trained_betas: Option<Vec<f64>>,
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
    /// The chain is changed so that its end holds no signal.
    pub rescale_betas_zero_snr: bool,
    /// DDIM only: the last step goes to ᾱ = 1; else to the first of the chain.
    pub set_alpha_to_one: bool,
}

impl Default for BetaScheduler {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_start: 1e-4,
            beta_end: 0.02,
            beta_schedule: BetaSchedule::Linear,
            trained_betas: None,
            variance_type: VarianceType::FixedSmall,
            clip_sample: true,
            clip_sample_range: 1.0,
            prediction_type: PredictionType::Epsilon,
            thresholding: false,
            timestep_spacing: TimestepSpacing::Leading,
            steps_offset: 0,
            rescale_betas_zero_snr: false,
            set_alpha_to_one: true,
        }
    }
}

impl BetaScheduler {
    /// β of each training timestep. Fails where they do not lie in (0, 1], or are none or too many.
    pub fn betas(&self) -> Result<Vec<f64>> {
        let n = self.num_train_timesteps;
        if n == 0 || n > 1 << 20 {
            return Err(Error::invalid("num_train_timesteps", n, "a chain has 1 to 1048576 timesteps"));
        }
        let (start, end) = (self.beta_start, self.beta_end);
        let mut betas: Vec<f64> = match (&self.trained_betas, self.beta_schedule) {
            (Some(betas), _) if betas.len() == n => betas.clone(),
            (Some(betas), _) => {
                return Err(Error::invalid(
                    "trained_betas",
                    format!("{} values", betas.len()),
                    format!("num_train_timesteps asks for {n}"),
                ));
            }
            (None, BetaSchedule::Linear) => linspace(start, end, n),
            (None, BetaSchedule::ScaledLinear) => {
                linspace(start.sqrt(), end.sqrt(), n).into_iter().map(|b| b * b).collect()
            }
            (None, BetaSchedule::SquaredcosCapV2) => {
                let bar = |i: usize| {
                    ((i as f64 / n as f64 + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2)
                };
                (0..n).map(|i| (1.0 - bar(i + 1) / bar(i)).min(0.999)).collect()
            }
            (None, BetaSchedule::Sigmoid) => linspace(-6.0, 6.0, n)
                .into_iter()
                .map(|v| start + (end - start) / (1.0 + (-v).exp()))
                .collect(),
        };
        if let Some((i, b)) = betas.iter().enumerate().find(|(_, b)| !(**b > 0.0 && **b < 1.0)) {
            return Err(Error::invalid("betas", b, format!("β at timestep {i} lies outside (0, 1)")));
        }
        if self.rescale_betas_zero_snr {
            rescale_zero_terminal_snr(&mut betas);
        }
        Ok(betas)
    }

    /// ᾱ of each training timestep.
    pub fn alphas_cumprod(&self) -> Result<Vec<f64>> {
        Ok(self.log_alphas_cumprod()?.into_iter().map(f64::exp).collect())
    }

    /// ln ᾱ, from which 1 − ᾱ comes without cancellation.
    pub(super) fn log_alphas_cumprod(&self) -> Result<Vec<f64>> {
        let mut sum = 0.0;
        Ok(self
            .betas()?
            .into_iter()
            .map(|b| {
                sum += (-b).ln_1p();
                sum
            })
            .collect())
    }

    /// The timesteps that `steps` steps visit, descending. Fails where there are more steps than timesteps, or an
    /// offset leads out of the chain.
    pub fn timesteps(&self, steps: usize) -> Result<Vec<usize>> {
        let n = self.num_train_timesteps;
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

/// Algorithm 1 of Lin et al. 2024: √ᾱ is shifted and scaled so that it ends at 0 and begins where it did.
fn rescale_zero_terminal_snr(betas: &mut [f64]) {
    let mut product = 1.0;
    let roots: Vec<f64> = betas
        .iter()
        .map(|b| {
            product *= 1.0 - b;
            f64::sqrt(product)
        })
        .collect();
    let (Some(&first), Some(&last)) = (roots.first(), roots.last()) else { return };
    let mut before = 1.0;
    for (b, root) in betas.iter_mut().zip(roots) {
        let bar = ((root - last) * first / (first - last)).powi(2);
        *b = 1.0 - bar / before;
        before = bar;
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

    #[test]
    fn schedules() {
        let ends = |beta_schedule| {
            let betas = BetaScheduler { beta_schedule, ..Default::default() }.betas().unwrap();
            (betas[0], betas[500], betas[999])
        };
        assert!((ends(BetaSchedule::ScaledLinear).1.sqrt() - 0.075_776_4).abs() < 1e-6);
        assert!((ends(BetaSchedule::Sigmoid).0 - (1e-4 + 0.0199 / (1.0 + 6f64.exp()))).abs() < 1e-12);
        assert_eq!(ends(BetaSchedule::SquaredcosCapV2).2, 0.999);
        let config = BetaScheduler {
            num_train_timesteps: 2,
            trained_betas: Some(vec![0.1, 0.5]),
            ..Default::default()
        };
        assert_eq!(config.betas().unwrap(), [0.1, 0.5]);
        assert!(BetaScheduler { num_train_timesteps: 3, ..config }.betas().is_err());
    }
}
