//! `ScoreSdeVeScheduler`: the predictor-corrector sampler for VE.

use std::sync::Arc;

use serde::Deserialize;

use super::{Class, Schedule, read};
use crate::Result;
use crate::sampling::coefficients::{Corrector, PcOptions, PcTable, Predictor};
use crate::sampling::solvers::{SolverOptions, SolverRun};
use crate::sde::{TimeConditioning, Ve};

pub(super) const CLASS: Class =
    Class { name: "ScoreSdeVeScheduler", takes: &["steps", "norm"], steps: 2000, read: read::<ScoreSdeVe> };

/// Fields and defaults are diffusers'.
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
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for constants outside their range.
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

impl Schedule for ScoreSdeVe {
    fn run(&self, steps: usize, options: &SolverOptions) -> Result<SolverRun> {
        let table = PcTable::new(&self.pc_options(steps)?)?;
        Ok(SolverRun::Pc { table, norm: options.norm.unwrap_or_default() })
    }

    fn steps(&self) -> Option<usize> {
        Some(self.num_train_timesteps)
    }
}
