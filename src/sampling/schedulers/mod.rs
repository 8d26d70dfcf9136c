//! The schedulers that diffusers folders carry: DDPM, DDIM and ScoreSdeVe, from their `scheduler_config.json`.
//!
//! Sources: Ho et al. 2020 (DDPM), Song, Meng and Ermon 2021 (DDIM), Song et al. 2021 (ScoreSdeVe is its
//! predictor-corrector sampler for VE), Lin et al. 2024 (timestep spacings, zero terminal SNR). The behaviour is that of
//! diffusers 0.42.

mod beta;
mod steps;

use std::sync::Arc;

use serde::Deserialize;

pub use beta::{BetaSchedule, BetaScheduler, PredictionType, TimestepSpacing, VarianceType};

use super::coefficients::{Corrector, PcOptions, PcTable, Predictor};
use super::solvers::{Problem, Solver, SolverOptions, SolverRun, steps_of};
use crate::ops::sampler_step::Norm;
use crate::sde::{TimeConditioning, Ve};
use crate::{Error, Result};

/// A scheduler as its configuration file describes it.
#[derive(Debug, Clone, PartialEq)]
pub enum Scheduler {
    /// `DDPMScheduler`.
    Ddpm(BetaScheduler),
    /// `DDIMScheduler`.
    Ddim(BetaScheduler),
    /// `ScoreSdeVeScheduler`.
    ScoreSdeVe(ScoreSdeVe),
}

impl Scheduler {
    /// Reads the text of a `scheduler_config.json`. Keys that do not bear on sampling are ignored.
    pub fn from_json(text: &str) -> Result<Self> {
        let bad = |e: serde_json::Error| Error::invalid("scheduler_config.json", "its text", e.to_string());
        let value: serde_json::Value = serde_json::from_str(text).map_err(bad)?;
        let class = value.get("_class_name").and_then(|c| c.as_str()).unwrap_or_default().to_owned();
        match class.as_str() {
            "DDPMScheduler" => Ok(Self::Ddpm(serde_json::from_value(value).map_err(bad)?)),
            "DDIMScheduler" => Ok(Self::Ddim(serde_json::from_value(value).map_err(bad)?)),
            "ScoreSdeVeScheduler" => Ok(Self::ScoreSdeVe(serde_json::from_value(value).map_err(bad)?)),
            _ => Err(Error::invalid(
                "_class_name",
                class,
                "the schedulers are DDPMScheduler, DDIMScheduler and ScoreSdeVeScheduler",
            )),
        }
    }

    /// Its class.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Ddpm(_) => "DDPMScheduler",
            Self::Ddim(_) => "DDIMScheduler",
            Self::ScoreSdeVe(_) => "ScoreSdeVeScheduler",
        }
    }

    /// The fields of [`SolverOptions`] that it takes.
    pub fn takes(&self) -> &'static [&'static str] {
        match self {
            Self::Ddpm(_) => &["steps"],
            Self::Ddim(_) => &["steps", "eta"],
            Self::ScoreSdeVe(_) => &["steps", "norm"],
        }
    }

    /// It as a solver; what is not said is as in the pipelines of diffusers.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an option that it does not take.
    pub fn solver(&self, options: &SolverOptions) -> Result<Box<dyn Solver>> {
        options.check(self.takes(), "the model's own scheduler")?;
        let steps = options.steps.unwrap_or(match self {
            Self::Ddpm(chain) => chain.num_train_timesteps,
            Self::Ddim(_) => DDIM_STEPS,
            Self::ScoreSdeVe(ve) => ve.num_train_timesteps,
        });
        let (eta, norm) = (options.eta.unwrap_or(0.0), options.norm.unwrap_or_default());
        Ok(Box::new(Scheduled { scheduler: self.clone(), steps, eta, norm }))
    }
}

/// Steps of diffusers' DDIM pipeline where nothing else is said.
const DDIM_STEPS: usize = 50;

/// A scheduler with the number of its steps.
#[derive(Debug, Clone)]
struct Scheduled {
    scheduler: Scheduler,
    steps: usize,
    eta: f64,
    norm: Norm,
}

impl Solver for Scheduled {
    fn name(&self) -> &'static str {
        self.scheduler.class()
    }

    fn describe(&self, _: &Problem) -> Result<String> {
        let eta = match self.scheduler {
            Scheduler::Ddim(_) => format!(", eta {}", self.eta),
            _ => String::new(),
        };
        Ok(format!("{}{eta}, {}", self.name(), steps_of(self.steps)))
    }

    fn plan(&self, _: &Problem) -> Result<SolverRun> {
        let table = match &self.scheduler {
            Scheduler::Ddpm(chain) => chain.ddpm(self.steps)?,
            Scheduler::Ddim(chain) => chain.ddim(self.steps, self.eta)?,
            Scheduler::ScoreSdeVe(ve) => {
                return Ok(SolverRun::Pc {
                    table: PcTable::new(&ve.pc_options(self.steps)?)?,
                    norm: self.norm,
                });
            }
        };
        Ok(SolverRun::Rows { table, raw_output: true })
    }
}

/// `ScoreSdeVeScheduler`: the predictor-corrector sampler for VE. Fields and defaults are diffusers'.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default)]
pub struct ScoreSdeVe {
    /// The number of steps where none is given.
    pub num_train_timesteps: usize,
    /// Of the corrector.
    pub snr: f64,
    /// The smallest σ.
    pub sigma_min: f64,
    /// The largest σ.
    pub sigma_max: f64,
    /// The last time.
    pub sampling_eps: f64,
    /// Corrector steps before each predictor step.
    pub correct_steps: usize,
}

impl Default for ScoreSdeVe {
    fn default() -> Self {
        Self {
            num_train_timesteps: 2000,
            snr: 0.15,
            sigma_min: 0.01,
            sigma_max: 1348.0,
            sampling_eps: 1e-5,
            correct_steps: 1,
        }
    }
}

impl ScoreSdeVe {
    /// Its run in `steps` steps: reverse diffusion after Langevin, the norms taken over the batch. diffusers' pipeline
    /// clamps the result to [0, 1].
    pub fn pc_options(&self, steps: usize) -> Result<PcOptions> {
        Ok(PcOptions {
            sde: Arc::new(Ve::new(self.sigma_min, self.sigma_max, steps)?),
            time: TimeConditioning::Continuous,
            predictor: Predictor::ReverseDiffusion,
            corrector: if self.correct_steps == 0 { Corrector::None } else { Corrector::Langevin },
            snr: self.snr,
            n_steps_each: self.correct_steps,
            probability_flow: false,
            denoise: true,
            t_eps: self.sampling_eps,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_as_published() {
        let ddpm = Scheduler::from_json(
            r#"{"_class_name": "DDPMScheduler", "_diffusers_version": "0.1.1", "beta_end": 0.02, "beta_schedule":
            "linear", "beta_start": 0.0001, "clip_sample": true, "num_train_timesteps": 1000, "trained_betas": null,
            "variance_type": "fixed_large"}"#,
        );
        let expected =
            BetaScheduler { variance_type: VarianceType::FixedLarge, beta_end: 0.02, ..Default::default() };
        assert_eq!(ddpm.unwrap(), Scheduler::Ddpm(expected));
        let ve = r#"{"_class_name": "ScoreSdeVeScheduler", "sigma_max": 380, "snr": 0.075}"#;
        let Scheduler::ScoreSdeVe(ve) = Scheduler::from_json(ve).unwrap() else { panic!("another class") };
        let options = ve.pc_options(10).unwrap();
        assert_eq!((options.snr, options.sde.prior_std(), options.sde.n()), (0.075, 380.0, 10));
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        for text in [
            "{",
            "[]",
            r#"{"_class_name": "PNDMScheduler"}"#,
            r#"{"_class_name": "DDPMScheduler", "beta_schedule": "laplace"}"#,
            r#"{"_class_name": "DDPMScheduler", "num_train_timesteps": -1}"#,
        ] {
            assert!(Scheduler::from_json(text).is_err(), "{text}");
        }
        let good = BetaScheduler::default();
        for bad in [
            BetaScheduler { thresholding: true, ..good.clone() },
            BetaScheduler { variance_type: VarianceType::Learned, ..good.clone() },
            BetaScheduler { variance_type: VarianceType::FixedLargeLog, ..good.clone() },
            BetaScheduler { num_train_timesteps: 0, ..good.clone() },
            BetaScheduler { beta_end: 1.5, ..good.clone() },
            BetaScheduler { clip_sample_range: 0.0, ..good.clone() },
        ] {
            assert!(bad.ddpm(1).is_err(), "{bad:?}");
        }
        assert!(good.ddim(10, -0.1).is_err());
    }
}
