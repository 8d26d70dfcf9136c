//! `pc`: the paper's predictor-corrector sampling (Algorithm 1 of Song et al. 2021).

use super::{Entry, Problem, Solver, SolverOptions, SolverRun, coupled, steps_of};
use crate::error::{Error, Result};
use crate::ops::sampler_step::Norm;
use crate::sampling::coefficients::{Corrector, PcOptions, PcTable, Predictor};

/// In the list of solvers.
pub const ENTRY: Entry = Entry {
    name: "pc",
    help: "predictor-corrector, as the model's configuration has it unless told otherwise",
    evaluations: "1 and the corrector's steps for each step, as many steps as the model has noise levels",
    takes: &["steps", "predictor", "corrector", "snr", "norm"],
    from_options: |o: &SolverOptions| Ok(Box::new(PredictorCorrector::from_options(o))),
};

/// Predictor-corrector sampling. What is not said is as the model's configuration has it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PredictorCorrector {
    predictor: Option<Predictor>,
    corrector: Option<Corrector>,
    snr: Option<f64>,
    steps: Option<usize>,
    norm: Norm,
}

impl PredictorCorrector {
    /// What the options say.
    pub fn from_options(o: &SolverOptions) -> Self {
        let (predictor, corrector, snr, steps) = (o.predictor, o.corrector, o.snr, o.steps);
        Self { predictor, corrector, snr, steps, norm: o.norm.unwrap_or_default() }
    }

    /// The predictor.
    #[must_use]
    pub fn predictor(mut self, predictor: Predictor) -> Self {
        self.predictor = Some(predictor);
        self
    }

    /// The corrector.
    #[must_use]
    pub fn corrector(mut self, corrector: Corrector) -> Self {
        self.corrector = Some(corrector);
        self
    }

    /// The signal-to-noise ratio of the corrector, above 0.
    #[must_use]
    pub fn snr(mut self, snr: f64) -> Self {
        self.snr = Some(snr);
        self
    }

    /// The number of steps: as many as the model has noise levels unless told otherwise.
    #[must_use]
    pub fn steps(mut self, steps: usize) -> Self {
        self.steps = Some(steps);
        self
    }

    /// How the norms of a Langevin step are taken: each image's own unless told otherwise.
    #[must_use]
    pub fn norm(mut self, norm: Norm) -> Self {
        self.norm = norm;
        self
    }

    /// What it is for a model.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the model has no SDE, or cannot be cut into so many steps.
    pub fn options(&self, problem: &Problem) -> Result<PcOptions> {
        let (sde, of) = (problem.sde()?, problem.pc());
        // A pair without a corrector would never look at it.
        if let Some(snr) = self.snr.filter(|snr| !(snr.is_finite() && *snr > 0.0)) {
            return Err(Error::invalid("snr", snr, "a finite number above 0 is expected"));
        }
        let sde = sde.with_n(self.steps.unwrap_or_else(|| sde.n()))?;
        Ok(PcOptions {
            time: problem.time(),
            predictor: self.predictor.unwrap_or(of.predictor),
            corrector: self.corrector.unwrap_or(of.corrector),
            snr: self.snr.unwrap_or(of.snr),
            n_steps_each: of.n_steps_each,
            probability_flow: of.probability_flow,
            denoise: problem.noise_removal(),
            t_eps: sde.default_t_eps(),
            sde,
        })
    }
}

impl Solver for PredictorCorrector {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn describe(&self, problem: &Problem) -> Result<String> {
        let PcOptions { predictor, corrector, snr, sde, .. } = self.options(problem)?;
        let coupled = coupled(self.norm, "norms");
        Ok(format!("{} ({predictor}, {corrector}, snr {snr}{coupled}), {}", ENTRY.name, steps_of(sde.n())))
    }

    fn plan(&self, problem: &Problem) -> Result<SolverRun> {
        Ok(SolverRun::Pc { table: PcTable::new(&self.options(problem)?)?, norm: self.norm })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sampling::solvers::PcDefaults;
    use crate::sde::{TimeConditioning, Ve};

    #[test]
    fn what_is_not_said_is_as_the_configuration_has_it() {
        let ve = Arc::new(Ve::new(0.01, 50.0, 12).unwrap());
        let defaults =
            PcDefaults { corrector: Corrector::Ald, snr: 0.1, n_steps_each: 2, ..Default::default() };
        let problem = Problem::new(ve, TimeConditioning::Continuous).with_pc(defaults);
        let run = |solver: PredictorCorrector| {
            let SolverRun::Pc { table, norm } = solver.plan(&problem).unwrap() else { panic!("another run") };
            (table.rows.len(), table.corrector_steps, norm, solver.describe(&problem).unwrap())
        };
        let words = "pc (reverse_diffusion, ald, snr 0.1), 12 steps";
        assert_eq!(run(PredictorCorrector::default()), (12, 2, Norm::Image, words.into()));
        let other = PredictorCorrector::default().predictor(Predictor::None).corrector(Corrector::Langevin);
        let words = "pc (none, langevin, snr 0.2, norms of the batch), 1 step";
        assert_eq!(run(other.snr(0.2).steps(1).norm(Norm::Batch)), (1, 2, Norm::Batch, words.into()));
        assert!(
            PredictorCorrector::default().snr(0.0).corrector(Corrector::Langevin).plan(&problem).is_err()
        );
    }
}
