//! `EDMEulerScheduler`: Euler's method for networks with the preconditioning of Karras et al. 2022, without churn.

use serde::Deserialize;

use super::sigmas::{FinalSigmas, exponential, karras};
use super::{Class, PredictionType, Schedule, read};
use crate::error::{Error, Result};
use crate::sampling::few_step::{SolverRow, SolverTable};
use crate::sampling::solvers::{SolverOptions, SolverRun};

pub(super) const CLASS: Class =
    Class { name: "EDMEulerScheduler", takes: &["steps"], steps: 50, read: read::<EdmEuler> };

/// How the noise levels are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SigmaSchedule {
    /// Evenly in σ^(1/rho).
    Karras,
    /// Evenly in ln σ.
    Exponential,
}

/// Fields and defaults are diffusers'.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct EdmEuler {
    /// The smallest σ.
    pub sigma_min: f64,
    /// The largest σ.
    pub sigma_max: f64,
    /// The standard deviation of the data.
    pub sigma_data: f64,
    /// How the noise levels are spaced.
    pub sigma_schedule: SigmaSchedule,
    /// Of Karras's spacing.
    pub rho: f64,
    /// The sign of the network's output: v is the negative of what `epsilon` stands for here.
    pub prediction_type: PredictionType,
    /// Where the last step ends.
    pub final_sigmas_type: FinalSigmas,
}

impl Default for EdmEuler {
    fn default() -> Self {
        Self {
            sigma_min: 0.002,
            sigma_max: 80.0,
            sigma_data: 0.5,
            sigma_schedule: SigmaSchedule::Karras,
            rho: 7.0,
            prediction_type: PredictionType::Epsilon,
            final_sigmas_type: FinalSigmas::Zero,
        }
    }
}

impl EdmEuler {
    fn check(&self, steps: usize) -> Result<()> {
        let above = |key: &str, value: f64, least: f64| match value.is_finite() && value > least {
            true => Ok(()),
            false => Err(Error::invalid(key, value, format!("a finite number above {least} is expected"))),
        };
        above("sigma_min", self.sigma_min, 0.0)?;
        above("sigma_max", self.sigma_max, self.sigma_min)?;
        above("sigma_data", self.sigma_data, 0.0)?;
        above("rho", self.rho, 0.0)?;
        if self.prediction_type == PredictionType::Sample {
            let problem = "EDMEulerScheduler takes epsilon or v_prediction";
            return Err(Error::invalid("prediction_type", "sample", problem));
        }
        match (1..=crate::limits::SCHEDULE_STEPS).contains(&steps) {
            true => Ok(()),
            false => {
                let problem = format!("this scheduler takes 1 to {} steps", crate::limits::SCHEDULE_STEPS);
                Err(Error::invalid("steps", steps, problem))
            }
        }
    }
}

impl Schedule for EdmEuler {
    fn run(&self, steps: usize, _: &SolverOptions) -> Result<SolverRun> {
        self.check(steps)?;
        let (low, high, data) = (self.sigma_min, self.sigma_max, self.sigma_data);
        let mut sigmas = match self.sigma_schedule {
            SigmaSchedule::Karras => karras(low, high, steps, self.rho),
            // A run of one step begins at the smallest σ, as in diffusers.
            SigmaSchedule::Exponential if steps == 1 => vec![low],
            SigmaSchedule::Exponential => exponential(low, high, steps),
        };
        let last = if self.final_sigmas_type == FinalSigmas::Zero { 0.0 } else { sigmas[steps - 1] };
        sigmas.push(last);
        // By what x = x_0 + σ ε is multiplied where the network is given it: at the end x is the result.
        let scale = |i: usize| if i == steps { 1.0 } else { 1.0 / sigmas[i].hypot(data) };
        let sign = if self.prediction_type == PredictionType::Epsilon { 1.0 } else { -1.0 };
        let rows = (0..steps).map(|i| {
            let (sigma, to) = (sigmas[i], sigmas[i + 1]);
            let total = sigma * sigma + data * data;
            SolverRow {
                t: i as f64 / steps as f64,
                argument: 0.25 * sigma.ln(),
                std: sigma * scale(i),
                // x̂_0 = c_skip x + c_out output.
                kept_x: data * data / total / scale(i),
                kept_output: sign * sigma * data / total.sqrt(),
                x: scale(i + 1) / scale(i) * to / sigma,
                kept: scale(i + 1) * (1.0 - to / sigma),
                ..SolverRow::NOTHING
            }
        });
        let rows = rows.collect();
        let table = SolverTable { rows, prior_std: high.hypot(1.0) * scale(0), clip: None, slots: 0 };
        Ok(SolverRun::Rows { table: table.checked(CLASS.name)?, raw_output: true })
    }
}
