//! What a configuration asks to be minimised, and how it asks to be sampled.

use std::sync::Arc;

use super::loss::{Objective, Reduction};
use crate::error::{Error, Result};
use crate::models::Config;
use crate::models::config::{
    Corrector as CorrectorName, ModelName, Predictor as PredictorName, Sde as SdeName,
};
use crate::ops::adam::Adam;
use crate::sampling::coefficients::{Corrector, Predictor};
use crate::sampling::solvers::{self, PcDefaults, Problem};
use crate::sde::{LinearBeta, Sde, TimeConditioning};

/// The smallest t of the continuous losses, as in the authors' `get_sde_loss_fn`.
const T_EPS: f64 = 1e-5;

/// The forward SDE of a configuration.
///
/// # Errors
/// [`Error::Invalid`] for constants outside their range.
pub fn sde_of(config: &Config) -> Result<Arc<dyn Sde>> {
    config.forward_sde()
}

/// What the network of a configuration is told about time.
pub fn time_of(config: &Config) -> TimeConditioning {
    config.conditioning()
}

/// What samplers may know of a model with this configuration.
///
/// # Errors
/// As [`sde_of`]; [`Error::UnknownName`] where `sampling.method` names no solver.
pub fn problem_of(config: &Config) -> Result<Problem> {
    problem_with(config, Problem::new(sde_of(config)?, time_of(config)))
}

/// `problem` with what a configuration says of sampling.
///
/// # Errors
/// [`Error::UnknownName`] where `sampling.method` names no solver.
pub fn problem_with(config: &Config, problem: Problem) -> Result<Problem> {
    let s = &config.sampling;
    solvers::by_name(s.method.as_str())?;
    let pc = PcDefaults {
        predictor: match s.predictor {
            PredictorName::EulerMaruyama => Predictor::EulerMaruyama,
            PredictorName::ReverseDiffusion => Predictor::ReverseDiffusion,
            PredictorName::AncestralSampling => Predictor::AncestralSampling,
            PredictorName::None => Predictor::None,
        },
        corrector: match s.corrector {
            CorrectorName::Langevin => Corrector::Langevin,
            CorrectorName::Ald => Corrector::Ald,
            CorrectorName::None => Corrector::None,
        },
        snr: s.snr,
        n_steps_each: s.n_steps_each,
        probability_flow: s.probability_flow,
    };
    Ok(problem.with_pc(pc).with_noise_removal(s.noise_removal))
}

impl Objective {
    /// Denoising score matching over continuous t, for any SDE and a network that is told about time as `time` says.
    pub fn denoising(sde: Arc<dyn Sde>, time: TimeConditioning, likelihood_weighting: bool) -> Self {
        Self::Continuous { sde, time, likelihood_weighting, t_eps: T_EPS }
    }

    /// The objective of a configuration, as the authors' `get_step_fn` picks it: denoising score matching where time is continuous,
    /// else SMLD for VE and DDPM for VP. A classifier learns the classes of noisy images, in continuous time.
    ///
    /// # Errors
    /// [`Error::Invalid`] for combinations that have no loss.
    pub fn of(config: &Config) -> Result<Self> {
        let (m, t) = (&config.model, &config.training);
        if m.name == ModelName::Wideresnet {
            return Ok(Self::Classification { sde: sde_of(config)?, t_eps: T_EPS });
        }
        if t.sde == SdeName::Custom {
            // Only the program that brings the SDE can say more: see [`Objective::denoising`].
            config.forward_sde()?;
        }
        if !t.continuous && t.likelihood_weighting {
            let problem = "likelihood weighting needs training.continuous = true";
            return Err(Error::invalid("training.likelihood_weighting", true, problem));
        }
        match (t.continuous, t.sde) {
            (true, _) => Ok(Self::Continuous {
                sde: sde_of(config)?,
                time: TimeConditioning::Continuous,
                likelihood_weighting: t.likelihood_weighting,
                t_eps: T_EPS,
            }),
            (false, SdeName::Ve) => Ok(Self::Smld { sigmas: config.sigmas() }),
            (false, SdeName::Vp) => {
                let betas = LinearBeta::new(m.beta_min, m.beta_max, m.num_scales)?;
                Ok(Self::Ddpm { means: betas.sqrt_alphas_cumprod(), stds: betas.sqrt_1m_alphas_cumprod() })
            }
            (false, SdeName::SubVp | SdeName::Custom) => {
                let problem = "the sub-VP SDE has no discrete loss; set training.continuous = true";
                Err(Error::invalid("training.sde", t.sde, problem))
            }
        }
    }
}

impl Reduction {
    /// That of a classifier, or what `training.reduce_mean` says.
    pub fn of(config: &Config) -> Self {
        match (config.model.name, config.training.reduce_mean) {
            (ModelName::Wideresnet, _) => Self::CrossEntropy,
            (_, true) => Self::Mean,
            (_, false) => Self::HalfSum,
        }
    }
}

/// The optimizer of a configuration.
pub fn adam_of(config: &Config) -> Adam {
    let o = &config.optim;
    Adam {
        lr: o.lr,
        beta1: o.beta1,
        beta2: o.beta2,
        eps: o.eps,
        weight_decay: o.weight_decay,
        warmup: o.warmup,
        grad_clip: o.grad_clip,
        ema_rate: config.model.ema_rate,
    }
}
