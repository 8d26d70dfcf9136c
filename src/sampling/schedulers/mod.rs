//! The schedulers that diffusers folders carry, from their `scheduler_config.json`: a file each, in the list [`all`].
//!
//! Sources: Ho et al. 2020 (DDPM), Song, Meng and Ermon 2021 (DDIM), Song et al. 2021 (ScoreSdeVe is its
//! predictor-corrector sampler for VE), Lu et al. 2022 (DPM-Solver), Zhao et al. 2023 (UniPC), Zhang and Chen 2022 (DEIS), Liu et al. 2022
//! (PNDM), Karras et al. 2022 (Euler, Heun, EDM), Lin et al. 2024 (timestep spacings, zero terminal SNR). The behaviour is that of
//! diffusers 0.42; `tools/check_schedulers.py` compares the trajectories.

mod beta;
mod chain;
pub mod deis;
pub mod dpm_multistep;
pub mod dpm_singlestep;
pub mod edm;
pub mod euler;
pub mod pndm;
mod score_sde_ve;
pub mod sigmas;
mod steps;
pub mod unipc;

use std::fmt::Debug;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use beta::{BetaScheduler, TimestepSpacing, VarianceType};
pub use chain::{BetaSchedule, Chain, PredictionType};
pub use score_sde_ve::ScoreSdeVe;

use super::few_step::SolverRow;
use super::solvers::{Problem, Solver, SolverOptions, SolverRun, steps_of};
use crate::error::nearest;
use crate::{Error, Result};

/// The list of schedulers.
const ALL: &[Class] = &[
    beta::DDPM,
    beta::DDIM,
    score_sde_ve::CLASS,
    dpm_multistep::CLASS,
    dpm_singlestep::CLASS,
    unipc::CLASS,
    deis::CLASS,
    pndm::CLASS,
    euler::EULER,
    euler::ANCESTRAL,
    euler::HEUN,
    edm::CLASS,
];

/// A scheduler's class.
#[derive(Debug, Clone, Copy)]
pub struct Class {
    /// Its name in diffusers.
    pub name: &'static str,
    /// The fields of [`SolverOptions`] that it takes.
    pub takes: &'static [&'static str],
    /// Steps where nothing else is said and the configuration says none.
    steps: usize,
    read: fn(Value) -> serde_json::Result<Arc<dyn Schedule>>,
}

/// Every class.
pub fn all() -> &'static [Class] {
    ALL
}

/// A configuration that has been read.
pub(super) trait Schedule: Debug + Send + Sync {
    /// The run in `steps` steps.
    fn run(&self, steps: usize, options: &SolverOptions) -> Result<SolverRun>;

    /// Steps where nothing else is said: those of the configuration, where it says some.
    fn steps(&self) -> Option<usize> {
        None
    }

    /// What a description says beside the class and the steps.
    fn words(&self, _: &SolverOptions) -> String {
        String::new()
    }
}

/// Reads a configuration of one class.
fn read<T: DeserializeOwned + Schedule + 'static>(config: Value) -> serde_json::Result<Arc<dyn Schedule>> {
    Ok(Arc::new(serde_json::from_value::<T>(config)?))
}

/// A scheduler as its configuration file describes it.
#[derive(Debug, Clone)]
pub struct Scheduler {
    class: &'static Class,
    config: Arc<dyn Schedule>,
}

impl Scheduler {
    /// Reads the text of a `scheduler_config.json`. Keys that do not bear on sampling are ignored.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a class or a value that is not computed here.
    pub fn from_json(text: &str) -> Result<Self> {
        let config: Map<String, Value> = serde_json::from_str(text).map_err(bad)?;
        let class = config.get("_class_name").and_then(|c| c.as_str()).unwrap_or_default().to_owned();
        Self::new(&class, config)
    }

    /// The scheduler of a class with these keys.
    ///
    /// # Errors
    /// As [`Scheduler::from_json`].
    pub fn new(class: &str, mut config: Map<String, Value>) -> Result<Self> {
        let names = || ALL.iter().map(|class| class.name);
        let Some(found) = ALL.iter().find(|known| known.name == class) else {
            let near = nearest(class, names()).unwrap_or_default();
            let all = names().collect::<Vec<_>>().join(", ");
            let problem = format!("it is not computed here, the nearest name is {near}; there are {all}");
            return Err(Error::invalid("_class_name", class, problem));
        };
        // A key without a value has its default.
        config.retain(|_, value| !value.is_null());
        Ok(Self { class: found, config: (found.read)(config.into()).map_err(bad)? })
    }

    /// Its class.
    pub fn class(&self) -> &'static str {
        self.class.name
    }

    /// The fields of [`SolverOptions`] that it takes.
    pub fn takes(&self) -> &'static [&'static str] {
        self.class.takes
    }

    /// It as a solver; what is not said is as in the pipelines of diffusers.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an option that it does not take.
    pub fn solver(&self, options: &SolverOptions) -> Result<Box<dyn Solver>> {
        options.check(self.takes(), "the model's own scheduler")?;
        let steps = options.steps.or_else(|| self.config.steps()).unwrap_or(self.class.steps);
        Ok(Box::new(Scheduled { scheduler: self.clone(), steps, options: options.clone() }))
    }
}

fn bad(error: serde_json::Error) -> Error {
    Error::invalid("scheduler_config.json", "its text", error.to_string())
}

/// A scheduler with the number of its steps.
#[derive(Debug, Clone)]
struct Scheduled {
    scheduler: Scheduler,
    steps: usize,
    options: SolverOptions,
}

impl Solver for Scheduled {
    fn name(&self) -> &'static str {
        self.scheduler.class()
    }

    fn describe(&self, _: &Problem) -> Result<String> {
        let words = self.scheduler.config.words(&self.options);
        Ok(format!("{}{words}, {}", self.name(), steps_of(self.steps)))
    }

    fn plan(&self, _: &Problem) -> Result<SolverRun> {
        self.scheduler.config.run(self.steps, &self.options)
    }
}

/// Predictions of the rows before, kept in a ring of slots.
#[derive(Debug, Clone, Copy)]
struct History {
    depth: usize,
}

impl History {
    fn new(depth: usize) -> Self {
        Self { depth }
    }

    /// Slots that it takes.
    fn slots(self) -> usize {
        self.depth
    }

    /// Row `i` with factors of its own prediction and of those before it, the newest first.
    fn row(self, mut row: SolverRow, i: usize, factors: &[f64]) -> SolverRow {
        row.kept += factors[0];
        for (j, &factor) in factors.iter().enumerate().skip(1).filter(|(_, factor)| **factor != 0.0) {
            row.before[(i - j) % self.depth] += factor;
        }
        row.keep_in = (self.depth > 0).then(|| i % self.depth);
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sde::TimeConditioning;

    fn problem() -> Problem {
        Problem::without_sde("m", "it has none", TimeConditioning::Continuous)
    }

    fn of(text: &str) -> Result<(String, SolverRun)> {
        let solver = Scheduler::from_json(text)?.solver(&SolverOptions::default())?;
        Ok((solver.describe(&problem())?, solver.plan(&problem())?))
    }

    /// A configuration that says nothing but its class is diffusers' default.
    #[test]
    fn every_class_plans_its_default_run() {
        for class in all() {
            let (words, run) = of(&format!(r#"{{"_class_name": "{}"}}"#, class.name)).unwrap();
            assert!(words.starts_with(class.name), "{words}");
            let least = if class.name == "ScoreSdeVeScheduler" { 4000 } else { 50 };
            assert!(run.evaluations().unwrap() >= least, "{words}");
        }
    }

    /// Trajectories that `tools/check_schedulers.py` has recorded: what the network is given at each evaluation, when, and the result.
    #[test]
    fn trajectories_of_diffusers() {
        #[derive(serde::Deserialize)]
        struct Case {
            class: String,
            config: Map<String, Value>,
            steps: usize,
            eta: f64,
            start: Vec<f64>,
            draws: Vec<Vec<f64>>,
            timesteps: Vec<f64>,
            inputs: Vec<Vec<f64>>,
            result: Vec<f64>,
        }
        #[derive(serde::Deserialize)]
        struct Fixture {
            cases: Vec<Case>,
        }
        let text = include_str!("../../../kernels-tests/fixtures/schedulers.json");
        let fixture: Fixture = serde_json::from_str(text).unwrap();
        let mut worst: std::collections::BTreeMap<String, (f64, usize)> = Default::default();
        for case in fixture.cases {
            let name = format!("{} {} in {} steps", case.class, Value::from(case.config.clone()), case.steps);
            let scheduler =
                Scheduler::new(&case.class, case.config).unwrap_or_else(|e| panic!("{name}: {e}"));
            let eta = (case.class == "DDIMScheduler").then_some(case.eta);
            let options = SolverOptions { steps: Some(case.steps), eta, ..Default::default() };
            let run = scheduler
                .solver(&options)
                .unwrap()
                .plan(&problem())
                .unwrap_or_else(|e| panic!("{name}: {e}"));
            let SolverRun::Rows { table, raw_output: true } = run else { panic!("{name}: another run") };
            let timesteps: Vec<f64> = table.rows.iter().map(|row| row.argument).collect();
            assert_eq!(timesteps.len(), case.timesteps.len(), "{name}: {timesteps:?} {:?}", case.timesteps);
            for (got, expected) in timesteps.iter().zip(&case.timesteps) {
                assert!((got - expected).abs() < 1e-7, "{name}: {timesteps:?} {:?}", case.timesteps);
            }
            let start: Vec<f64> = case.start.iter().map(|z| z * table.prior_std).collect();
            let network = |row: &SolverRow, x: &[f64]| -> Vec<f64> {
                x.iter().map(|x| 0.3 * x + 0.5 * (2.0 * x + 0.01 * row.argument).sin()).collect()
            };
            let mut draws = case.draws.iter();
            let states = table.run_f64(start, network, || draws.next().cloned().unwrap_or_default());
            assert!(draws.next().is_none(), "{name}: a draw is left over");
            let (result, inputs) = states.split_last().unwrap();
            let pairs = inputs.iter().zip(&case.inputs).chain([(result, &case.result)]);
            let mut error: f64 = 0.0;
            for (i, (got, expected)) in pairs.enumerate() {
                let size = expected.iter().fold(1.0_f64, |m, v| m.max(v.abs()));
                let apart = got.iter().zip(expected).map(|(a, b)| (a - b).abs() / size).fold(0.0, f64::max);
                assert!(apart < 1e-8, "{name}: evaluation {i}: {got:?}, diffusers has {expected:?}");
                error = error.max(apart);
            }
            let of_class = worst.entry(case.class).or_default();
            *of_class = (of_class.0.max(error), of_class.1 + 1);
        }
        for (class, (error, count)) in &worst {
            println!("{class}: {count} configurations, worst error {error:.1e}");
        }
        // All but the predictor-corrector sampler, which has golden data.
        assert_eq!(worst.len(), all().len() - 1);
    }

    #[test]
    fn configurations_as_published() {
        let (words, _) = of(
            r#"{"_class_name": "DDPMScheduler", "_diffusers_version": "0.1.1", "beta_end": 0.02, "beta_schedule":
            "linear", "beta_start": 0.0001, "clip_sample": true, "num_train_timesteps": 1000, "trained_betas": null,
            "variance_type": "fixed_large"}"#,
        )
        .unwrap();
        assert_eq!(words, "DDPMScheduler, 1000 steps");
        let ve = r#"{"_class_name": "ScoreSdeVeScheduler", "sigma_max": 380, "snr": 0.075, "num_train_timesteps": 10}"#;
        let (words, SolverRun::Pc { table, .. }) = of(ve).unwrap() else { panic!("another run") };
        assert_eq!((words.as_str(), table.prior_std), ("ScoreSdeVeScheduler, 10 steps", 380.0));
        let dpm = r#"{"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "dpmsolver++", "dynamic_thresholding_ratio": 0.995,
            "lambda_min_clipped": null, "prediction_type": "epsilon", "solver_order": 2, "thresholding": false,
            "use_karras_sigmas": false, "variance_type": null}"#;
        assert_eq!(of(dpm).unwrap().0, "DPMSolverMultistepScheduler, 50 steps");
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        for (text, words) in [
            ("{", "its text"),
            ("[]", "its text"),
            (r#"{"_class_name": "PNDM"}"#, "the nearest name is PNDMScheduler"),
            (r#"{"_class_name": "DDPMScheduler", "beta_schedule": "quad"}"#, "quad"),
            (r#"{"_class_name": "DDPMScheduler", "num_train_timesteps": -1}"#, "-1"),
            (r#"{"_class_name": "UniPCMultistepScheduler", "solver_order": 9}"#, "solver_order"),
            (r#"{"_class_name": "DEISMultistepScheduler", "solver_order": 4}"#, "solver_order"),
            (r#"{"_class_name": "DPMSolverMultistepScheduler", "thresholding": true}"#, "thresholding"),
            (
                r#"{"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "dpmsolver"}"#,
                "final_sigmas_type",
            ),
            (r#"{"_class_name": "PNDMScheduler", "prediction_type": "sample"}"#, "prediction_type"),
            (r#"{"_class_name": "EDMEulerScheduler", "sigma_min": 0}"#, "sigma_min"),
            (r#"{"_class_name": "DDPMScheduler", "variance_type": "learned"}"#, "variance_type"),
            (r#"{"_class_name": "DDPMScheduler", "variance_type": "fixed_large_log"}"#, "variance_type"),
            (r#"{"_class_name": "DDPMScheduler", "num_train_timesteps": 0}"#, "num_train_timesteps"),
            (r#"{"_class_name": "DDPMScheduler", "beta_end": 1.5}"#, "betas"),
            (r#"{"_class_name": "DDIMScheduler", "thresholding": true}"#, "thresholding"),
            (r#"{"_class_name": "DDIMScheduler", "clip_sample_range": 0}"#, "clip_sample_range"),
        ] {
            let error = of(text).map(|(words, _)| words).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        let ddim = Scheduler::from_json(r#"{"_class_name": "DDIMScheduler"}"#).unwrap();
        let eta = |eta| ddim.solver(&SolverOptions { eta: Some(eta), ..Default::default() }).unwrap();
        assert_eq!(eta(0.5).describe(&problem()).unwrap(), "DDIMScheduler, eta 0.5, 50 steps");
        assert!(eta(-0.1).plan(&problem()).is_err());
        let heun = Scheduler::from_json(r#"{"_class_name": "HeunDiscreteScheduler"}"#).unwrap();
        let error =
            heun.solver(&SolverOptions { eta: Some(0.5), ..Default::default() }).unwrap_err().to_string();
        assert!(error.contains("not the model's own scheduler"), "{error}");
    }
}
