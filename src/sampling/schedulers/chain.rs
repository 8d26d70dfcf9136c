//! The chain of βs that a scheduler's configuration describes, and what a network of it predicts.

use serde::Deserialize;

use crate::sampling::few_step::Node;
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
    /// ᾱ falls as e^{−12 t}.
    Exp,
    /// The signal-to-noise ratio follows a Laplace distribution (Hang et al. 2024).
    Laplace,
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

impl PredictionType {
    /// The factors of x and of the network's output in the prediction of x_0, for x of mean α x_0 and deviation σ.
    pub(super) fn data(self, at: Node) -> [f64; 2] {
        match self {
            Self::Epsilon => [1.0 / at.mean, -at.std / at.mean],
            Self::Sample => [0.0, 1.0],
            Self::VPrediction => [at.mean, -at.std],
        }
    }

    /// The same in the prediction of the noise.
    pub(super) fn noise(self, at: Node) -> [f64; 2] {
        match self {
            Self::Epsilon => [0.0, 1.0],
            Self::Sample => [1.0 / at.std, -at.mean / at.std],
            Self::VPrediction => [at.std, at.mean],
        }
    }
}

/// The βs of a chain. Fields and defaults are diffusers'.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Chain {
    /// The number of timesteps.
    pub num_train_timesteps: usize,
    /// The first β.
    pub beta_start: f64,
    /// The last β.
    pub beta_end: f64,
    /// What lies between.
    pub beta_schedule: BetaSchedule,
    /// The βs themselves, in place of a schedule.
    pub trained_betas: Option<Vec<f64>>,
    /// The chain is changed so that its end holds no signal.
    pub rescale_betas_zero_snr: bool,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_start: 1e-4,
            beta_end: 0.02,
            beta_schedule: BetaSchedule::Linear,
            trained_betas: None,
            rescale_betas_zero_snr: false,
        }
    }
}

impl Chain {
    /// β of each training timestep. Fails where they do not lie in (0, 1], or are none or too many.
    pub fn betas(&self) -> Result<Vec<f64>> {
        let n = self.num_train_timesteps;
        if n == 0 || n > 1 << 20 {
            return Err(Error::invalid("num_train_timesteps", n, "a chain has 1 to 1048576 timesteps"));
        }
        let (start, end) = (self.beta_start, self.beta_end);
        // β of a chain with this ᾱ at a share of its length.
        let of = |bar: &dyn Fn(f64) -> f64| -> Vec<f64> {
            let at = |i: usize| bar(i as f64 / n as f64);
            (0..n).map(|i| (1.0 - at(i + 1) / at(i)).min(0.999)).collect()
        };
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
                of(&|t| ((t + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2))
            }
            (None, BetaSchedule::Exp) => of(&|t| (-12.0 * t).exp()),
            (None, BetaSchedule::Laplace) => of(&|t| {
                let side = 0.5 - t;
                let snr = (-0.5 * 1f64.copysign(side) * (1.0 - 2.0 * side.abs() + 1e-6).ln()).exp();
                (snr / (1.0 + snr)).sqrt()
            }),
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

    /// r = √((1−ᾱ)/ᾱ) of each training timestep. A chain whose end holds no signal has ᾱ = 2⁻²⁴ there, as in diffusers.
    pub(super) fn ratios(&self) -> Result<Vec<f64>> {
        let mut logs = self.log_alphas_cumprod()?;
        if let (true, Some(last)) = (self.rescale_betas_zero_snr, logs.last_mut()) {
            *last = -24.0 * std::f64::consts::LN_2;
        }
        Ok(logs.into_iter().map(|log| (-log).exp_m1().sqrt()).collect())
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
    fn schedules() {
        let ends = |beta_schedule| {
            let betas = Chain { beta_schedule, ..Default::default() }.betas().unwrap();
            (betas[0], betas[500], betas[999])
        };
        assert!((ends(BetaSchedule::ScaledLinear).1.sqrt() - 0.075_776_4).abs() < 1e-6);
        assert!((ends(BetaSchedule::Sigmoid).0 - (1e-4 + 0.0199 / (1.0 + 6f64.exp()))).abs() < 1e-12);
        assert_eq!(ends(BetaSchedule::SquaredcosCapV2).2, 0.999);
        let config =
            Chain { num_train_timesteps: 2, trained_betas: Some(vec![0.1, 0.5]), ..Default::default() };
        assert_eq!(config.betas().unwrap(), [0.1, 0.5]);
        assert!(Chain { num_train_timesteps: 3, ..config }.betas().is_err());
    }
}
