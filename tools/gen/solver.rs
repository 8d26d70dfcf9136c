//! Arguments of samplers, and the solver that they ask for.

use std::sync::Arc;

use clap::{Args, ValueEnum};
use langevin::checkpoint::SavedModel;
use langevin::ops::sampler_step;
use langevin::sampling::coefficients::{Corrector, Predictor};
use langevin::sampling::schedulers::Scheduler;
use langevin::sampling::solvers::options::listed;
use langevin::sampling::solvers::{self, Entry, Misplaced, PredictorCorrector, Solver, SolverOptions};

use crate::exit::Usage;

/// Predictor-corrector sampling.
#[derive(Args, Clone)]
pub struct PcArgs {
    /// Of pc: euler_maruyama, reverse_diffusion, ancestral_sampling, none; the configuration's unless given.
    #[arg(long, value_name = "NAME", value_parser = name::<Predictor>)]
    predictor: Option<Predictor>,
    /// Of pc: langevin, ald, none; the configuration's unless given.
    #[arg(long, value_name = "NAME", value_parser = name::<Corrector>)]
    corrector: Option<Corrector>,
    /// Signal-to-noise ratio of pc's corrector; the configuration's unless given.
    #[arg(long, value_name = "F", value_parser = snr)]
    snr: Option<f64>,
    /// Norms of pc's Langevin step and of an ODE's errors: each image's own unless given, or the batch's as in the authors' code,
    /// which couples the images.
    #[arg(long, value_enum, value_name = "NAME")]
    norm: Option<Norm>,
    /// Steps: 20 unless given, for pc as many as the model has noise levels, for a scheduler of diffusers as its pipeline has.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,
}

/// `--norm`
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Norm {
    Image,
    Batch,
}

impl From<Norm> for sampler_step::Norm {
    fn from(norm: Norm) -> Self {
        match norm {
            Norm::Image => Self::Image,
            Norm::Batch => Self::Batch,
        }
    }
}

/// How images are drawn.
#[derive(Args, Clone)]
pub struct SamplerArgs {
    #[arg(long, value_name = "NAME", value_parser = entry, help = sampler_help())]
    sampler: Option<Entry>,
    #[command(flatten)]
    pub pc: PcArgs,
    /// Noise of dpmpp and ddim, from 0 (none) to 1 (as much as the SDE adds); unless given 1 for dpmpp, 0 for ddim.
    #[arg(long, value_name = "F")]
    eta: Option<f64>,
    /// Of dpmpp and ddim: clamp predictions of the image to ± this, in the model's own scale; 1 unless given, 0 does not clamp.
    #[arg(long, value_name = "F")]
    clip: Option<f64>,
    /// Relative tolerance of an adaptive solver; 1e-5 unless given.
    #[arg(long, value_name = "F")]
    rtol: Option<f64>,
    /// Absolute tolerance of an adaptive solver; 1e-5 unless given.
    #[arg(long, value_name = "F")]
    atol: Option<f64>,
}

fn sampler_help() -> String {
    let of = |entry: &Entry| format!("{} ({})", entry.name, entry.help);
    let list: Vec<String> = solvers::all().iter().map(of).collect();
    format!(
        "{}; unless given the scheduler of a diffusers folder, else {}",
        list.join(", "),
        solvers::default_entry().name
    )
}

fn entry(text: &str) -> Result<Entry, String> {
    solvers::by_name(text).copied().map_err(|e| e.to_string())
}

fn name<T: std::str::FromStr<Err = langevin::Error>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|e: langevin::Error| e.to_string())
}

/// Said early: a pair without a corrector would never look at it.
fn snr(text: &str) -> Result<f64, String> {
    let snr: f64 = text.parse().map_err(|_| "a number is expected, such as 0.16".to_owned())?;
    if snr.is_finite() && snr > 0.0 { Ok(snr) } else { Err("a finite number above 0 is expected".into()) }
}

impl PcArgs {
    fn put(&self, options: &mut SolverOptions) {
        options.predictor = self.predictor;
        options.corrector = self.corrector;
        options.snr = self.snr;
        options.norm = self.norm.map(Norm::into);
        options.steps = self.steps.map(|steps| steps as usize);
    }

    /// Predictor-corrector sampling as it is asked for.
    pub fn solver(&self) -> PredictorCorrector {
        let mut options = SolverOptions::default();
        self.put(&mut options);
        PredictorCorrector::from_options(&options)
    }
}

impl SamplerArgs {
    /// The solver that is asked for. An option that it does not take is refused rather than passed over in silence.
    pub fn solver(&self, saved: &SavedModel) -> anyhow::Result<Arc<dyn Solver>> {
        let options = self.options();
        if let (None, Some(config)) = (self.sampler, &saved.scheduler) {
            let text = serde_json::to_string(config)
                .map_err(|e| langevin::Error::invalid("scheduler", "its text", e.to_string()))?;
            let scheduler = Scheduler::from_json(&text)?;
            placed(&options, scheduler.takes(), "the model's own scheduler")?;
            return Ok(scheduler.solver(&options)?.into());
        }
        let entry = self.sampler.unwrap_or(*solvers::default_entry());
        placed(&options, entry.takes, &format!("--sampler {}", entry.name))?;
        Ok(entry.solver(&options)?.into())
    }

    fn options(&self) -> SolverOptions {
        let mut options = SolverOptions::default();
        self.pc.put(&mut options);
        options.eta = self.eta;
        options.clip = self.clip;
        options.rtol = self.rtol;
        options.atol = self.atol;
        options
    }
}

/// The library's refusal in the words of the command line.
fn placed(options: &SolverOptions, takes: &[&str], what: &str) -> anyhow::Result<()> {
    let Some(Misplaced { option, belongs_to, .. }) = options.misplaced(takes) else { return Ok(()) };
    let names = listed(&belongs_to);
    Err(Usage(format!("--{option} belongs to --sampler {names}, not {what}")).into())
}
