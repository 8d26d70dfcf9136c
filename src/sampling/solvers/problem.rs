//! What a solver may know of a model.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::sampling::coefficients::{Corrector, Predictor};
use crate::sde::{Sde, TimeConditioning};

/// The predictor-corrector sampling that a model's configuration names. The defaults are those of the paper for VE.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PcDefaults {
    /// The predictor.
    pub predictor: Predictor,
    /// The corrector.
    pub corrector: Corrector,
    /// The signal-to-noise ratio of the corrector.
    pub snr: f64,
    /// Corrector steps before each predictor step.
    pub n_steps_each: usize,
    /// The predictor follows the probability-flow ODE.
    pub probability_flow: bool,
}

impl Default for PcDefaults {
    fn default() -> Self {
        Self {
            predictor: Predictor::ReverseDiffusion,
            corrector: Corrector::Langevin,
            snr: 0.16,
            n_steps_each: 1,
            probability_flow: false,
        }
    }
}

/// What a solver may know of a model: its SDE, how it was trained, and what its configuration says of sampling.
#[derive(Debug, Clone)]
pub struct Problem {
    sde: std::result::Result<Arc<dyn Sde>, [String; 2]>,
    time: TimeConditioning,
    pc: PcDefaults,
    noise_removal: bool,
}

impl Problem {
    /// A model of this SDE, trained in this way; a run ends with the mean of its last step.
    pub fn new(sde: Arc<dyn Sde>, time: TimeConditioning) -> Self {
        Self { sde: Ok(sde), time, pc: PcDefaults::default(), noise_removal: true }
    }

    /// A model that has none of our SDEs, and why: only the scheduler that it carries can sample it.
    pub fn without_sde(model: &str, reason: &str, time: TimeConditioning) -> Self {
        let sde = Err([model.to_owned(), reason.to_owned()]);
        Self { sde, time, pc: PcDefaults::default(), noise_removal: true }
    }

    /// With the predictor-corrector sampling of its configuration.
    #[must_use]
    pub fn with_pc(mut self, pc: PcDefaults) -> Self {
        self.pc = pc;
        self
    }

    /// Whether the last step of a run gives its mean rather than a draw.
    #[must_use]
    pub fn with_noise_removal(mut self, noise_removal: bool) -> Self {
        self.noise_removal = noise_removal;
        self
    }

    /// The SDE.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the reason where the model has none.
    pub fn sde(&self) -> Result<&Arc<dyn Sde>> {
        self.sde.as_ref().map_err(|[model, reason]| Error::invalid("model", model, reason))
    }

    /// What the network is told about time.
    pub fn time(&self) -> TimeConditioning {
        self.time
    }

    /// The predictor-corrector sampling that the configuration names.
    pub fn pc(&self) -> PcDefaults {
        self.pc
    }

    /// Whether the last step of a run gives its mean rather than a draw.
    pub fn noise_removal(&self) -> bool {
        self.noise_removal
    }
}
