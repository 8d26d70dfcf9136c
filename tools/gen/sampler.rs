//! The sampler that the command line, the configuration and the model ask for.

use std::sync::Arc;

use clap::{Args, ValueEnum};
use langevin::checkpoint::diffusers::SchedulerConfig;
use langevin::checkpoint::{SavedModel, Which};
use langevin::gpu::Gpu;
use langevin::graph::{Drafts, Kernels, Memory};
use langevin::models::Config;
use langevin::models::config::{self, Method as Name};
use langevin::ops::sampler_step;
use langevin::sampling::coefficients::{PcOptions, PcTable};
use langevin::sampling::few_step::{FewStepOptions, Solver, SolverTable, Spacing, few_step};
use langevin::sampling::flow::{FlowOptions, Toward, end, integrate};
use langevin::sampling::prior::prior;
use langevin::sampling::rk45::Tolerance;
use langevin::sampling::run::{ImageSeed, Method, Sampler, SamplerDraft};
use langevin::sampling::schedulers::Scheduler;
use langevin::score::ModelScore;
use langevin::sde::{Sde, TimeConditioning};
use langevin::training::pc_of;

use crate::commands::class::Guide;
use crate::exit::Usage;
use crate::flow::{self, Flow};
use crate::model::Facts;
use crate::print::count;
use crate::session::Session;

/// Steps of a few-step solver where nothing else is said.
const FEW: usize = 20;
/// Steps of diffusers' DDIM pipeline where nothing else is said.
const DDIM: usize = 50;

/// Predictor-corrector sampling.
#[derive(Args, Clone)]
pub struct PcArgs {
    /// Of pc: euler_maruyama, reverse_diffusion, ancestral_sampling, none; the configuration's unless given.
    #[arg(long, value_name = "NAME", value_parser = name::<config::Predictor>)]
    predictor: Option<config::Predictor>,
    /// Of pc: langevin, ald, none; the configuration's unless given.
    #[arg(long, value_name = "NAME", value_parser = name::<config::Corrector>)]
    corrector: Option<config::Corrector>,
    /// Signal-to-noise ratio of pc's corrector; the configuration's unless given.
    #[arg(long, value_name = "F", value_parser = snr)]
    snr: Option<f64>,
    /// Norms of pc's Langevin step and of ode's errors: each image's own, or the batch's as in the authors' code, which couples
    /// the images.
    #[arg(long, value_enum, value_name = "NAME", default_value_t = Norm::Image)]
    norm: Norm,
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
    /// pc (predictor-corrector), ode (adaptive RK45), heun, dpmpp (DPM-Solver++(2M)), ddim; unless given the scheduler of a
    /// diffusers folder, else dpmpp.
    #[arg(long, value_name = "NAME", value_parser = name::<Name>)]
    sampler: Option<Name>,
    #[command(flatten)]
    pub pc: PcArgs,
    /// Noise of dpmpp and ddim, from 0 (none) to 1 (as much as the SDE adds); unless given 1 for dpmpp, 0 for ddim.
    #[arg(long, value_name = "F")]
    eta: Option<f64>,
    /// Of dpmpp and ddim: clamp predictions of the image to ± this, in the model's own scale; 0 does not clamp.
    #[arg(long, value_name = "F", default_value_t = 1.0)]
    clip: f64,
    /// Relative tolerance of ode.
    #[arg(long, value_name = "F", default_value_t = 1e-5)]
    rtol: f64,
    /// Absolute tolerance of ode.
    #[arg(long, value_name = "F", default_value_t = 1e-5)]
    atol: f64,
}

fn name<T: std::str::FromStr<Err = langevin::Error>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|e: langevin::Error| e.to_string())
}

/// Said early: a pair without a corrector would never look at it.
fn snr(text: &str) -> Result<f64, String> {
    let snr: f64 = text.parse().map_err(|_| "a number is expected, such as 0.16".to_owned())?;
    if snr.is_finite() && snr > 0.0 { Ok(snr) } else { Err("a finite number above 0 is expected".into()) }
}

/// A sampler on paper.
pub struct Plan {
    /// What it is, in words.
    pub name: String,
    /// Evaluations of the network; those of an adaptive solver are not known before.
    pub nfe: Option<usize>,
    /// Floating-point operations of a step; as the evaluations.
    pub flops: Option<f64>,
    /// Device memory.
    pub memory: Memory,
    kernels: Kernels,
    /// None for an adaptive solver.
    draft: Option<SamplerDraft>,
}

/// A sampler on the device.
pub struct Run<'a> {
    /// What it is, in words.
    pub name: String,
    /// Steps of a run; those of an adaptive solver are not known before.
    pub steps: usize,
    /// Device memory.
    pub memory: Memory,
    gpu: &'a Gpu,
    kind: Kind<'a>,
    hwc: [usize; 3],
}

enum Kind<'a> {
    Steps { sampler: Box<Sampler>, nfe: usize },
    Ode { flow: Box<Flow<'a>>, options: FlowOptions, denoise: bool },
}

/// Where states of the first batch are kept: every so many steps, and the place.
pub type Keep<'s> = Option<(usize, &'s mut Vec<Vec<f32>>)>;

/// The rows of a run.
enum Rows {
    Pc(PcTable),
    Solver(SolverTable),
}

impl Plan {
    /// Traces and plans the sampler for batches of `n`.
    pub fn new(
        gpu: &Gpu,
        saved: &SavedModel,
        args: &SamplerArgs,
        n: usize,
        guide: Option<&Guide>,
        session: &Session,
    ) -> anyhow::Result<Self> {
        let [h, w, c] = saved.hwc();
        let (kernels, shape) = (session.kernels(gpu)?, [n, h, w, c]);
        let choice = kernels.choice.clone();
        args.check(saved, session)?;
        if args.sampler == Some(Name::Ode) {
            if guide.is_some() {
                let problem = "--sampler ode is not guided by a classifier; take dpmpp, heun, ddim or pc";
                return Err(Usage(problem.into()).into());
            }
            Tolerance::new(args.rtol, args.atol)?;
            let coupled = args.pc.coupled("errors");
            let name = format!("ode, rtol {}, atol {}{coupled}", args.rtol, args.atol);
            let memory = flow::draft(gpu, saved, n, false, &kernels)?.memory();
            flow::room(gpu, n, memory.total())?;
            return Ok(Self { name, nfe: None, flops: None, memory, kernels, draft: None });
        }
        let (rows, mut name) = args.rows(saved)?;
        let model = saved.network_model();
        // The rows of diffusers' chains take the raw prediction, which is no score.
        let raw = args.sampler.is_none() && saved.scheduler.is_some();
        if raw && guide.is_some() {
            let problem = "a scheduler of diffusers is not guided by a classifier; name a --sampler";
            return Err(Usage(problem.into()).into());
        }
        let score = ModelScore { model: &model, unscaled: raw || saved.unscaled() };
        let (method, nfe) = match &rows {
            Rows::Pc(table) => {
                let norm = args.pc.norm.into();
                (Method::Pc { table, norm, constraint: None }, table.evaluations())
            }
            Rows::Solver(table) => (Method::Solver(table), table.rows.len()),
        };
        let draft = match guide {
            Some(guide) => guide.with(&score, |score| SamplerDraft::new(gpu, score, method, shape, choice)),
            None => SamplerDraft::new(gpu, &score, method, shape, choice),
        }?
        .tuned(kernels.tuner.as_ref())?;
        if let Some(guide) = guide {
            name = format!("{name}, {}", guide.name);
        }
        let (flops, memory) = (Some(draft.flops()), draft.memory());
        flow::room(gpu, n, memory.total())?;
        Ok(Self { name, nfe: Some(nfe), flops, memory, kernels, draft: Some(draft) })
    }
}

impl<'a> Run<'a> {
    /// Builds what is planned.
    pub fn new(
        plan: Plan,
        gpu: &'a Gpu,
        saved: &'a SavedModel,
        which: Which,
        args: &SamplerArgs,
        guide: Option<&Guide>,
    ) -> langevin::Result<Self> {
        let (steps, kind) = match (&plan.draft, plan.nfe) {
            (Some(draft), Some(nfe)) => {
                let mut resources = saved.upload(gpu, which)?.resources();
                if let Some(guide) = guide {
                    resources = guide.resources(resources);
                }
                let sampler = Box::new(draft.build(gpu, resources)?);
                (sampler.steps(), Kind::Steps { sampler, nfe })
            }
            _ => {
                let flow = Box::new(Flow::new(gpu, saved, which, false, plan.kernels)?);
                let options = FlowOptions {
                    t_eps: flow.sde().default_t_eps(),
                    tolerance: Tolerance::new(args.rtol, args.atol)?,
                    norm: args.pc.norm.into(),
                };
                (1000, Kind::Ode { flow, options, denoise: saved.config.sampling.noise_removal })
            }
        };
        Ok(Self { name: plan.name, steps, memory: plan.memory, gpu, kind, hwc: saved.hwc() })
    }

    /// Draws a batch: the images, `n h w c`, and the evaluations of the network. None where `proceed` said no.
    pub fn draw(
        &mut self,
        images: &[ImageSeed],
        keep: Keep<'_>,
        proceed: &mut dyn FnMut(usize) -> bool,
    ) -> langevin::Result<Option<(Vec<f32>, usize)>> {
        match &mut self.kind {
            Kind::Steps { sampler, nfe } => {
                let x = match keep {
                    Some((every, states)) => sampler.run_keeping(images, every, states, proceed)?,
                    None => sampler.run(images, proceed)?,
                };
                Ok(x.map(|x| (x, *nfe)))
            }
            Kind::Ode { flow, options, denoise } => {
                let start = prior(self.gpu, images, self.hwc, flow.sde().prior_std())?;
                let ode = flow.ode(images.len())?;
                ode.set(&start)?;
                let mut states = keep.map(|(_, states)| states);
                let mut watch = |t: f64, ode: &langevin::sampling::ode::Ode| {
                    if let Some(states) = &mut states {
                        states.push(ode.get()?);
                    }
                    // Progress through t stands for steps, whose number nobody knows before.
                    Ok(proceed(((1.0 - t) * 1000.0) as usize))
                };
                let Some(nfe) = integrate(ode, Toward::Data, *options, &mut watch)? else {
                    return Ok(None);
                };
                let flowed = end(ode, options.t_eps, *denoise, nfe)?;
                Ok(Some((flowed.x, flowed.nfe)))
            }
        }
    }
}

impl PcArgs {
    /// The table of a run and what it is in words.
    pub fn table(&self, config: &Config, sde: &Arc<dyn Sde>) -> langevin::Result<(PcTable, String)> {
        let mut config = config.clone();
        let s = &mut config.sampling;
        let (predictor, corrector) =
            (self.predictor.unwrap_or(s.predictor), self.corrector.unwrap_or(s.corrector));
        let (snr, steps) = (self.snr.unwrap_or(s.snr), self.steps.map_or(sde.n(), |n| n as usize));
        (s.predictor, s.corrector, s.snr) = (predictor, corrector, snr);
        let table = PcTable::new(&PcOptions { sde: sde.with_n(steps)?, ..pc_of(&config)? })?;
        let coupled = self.coupled("norms");
        Ok((table, format!("pc ({predictor}, {corrector}, snr {snr}{coupled}), {}", count(steps, "step"))))
    }

    /// What a sampler's name says where images of a batch are coupled.
    fn coupled(&self, what: &str) -> String {
        if self.norm == Norm::Batch { format!(", {what} of the batch") } else { String::new() }
    }

    /// Whether images of a batch depend on each other by more than a tolerance, so that its size is part of the result.
    pub fn couples(&self) -> bool {
        self.norm == Norm::Batch
    }

    /// How norms are taken.
    pub fn norm(&self) -> sampler_step::Norm {
        self.norm.into()
    }
}

impl SamplerArgs {
    /// Options of another sampler are said rather than passed over in silence.
    fn check(&self, saved: &SavedModel, session: &Session) -> anyhow::Result<()> {
        let own = saved.scheduler.is_some() && self.sampler.is_none();
        let what = match self.sampler {
            Some(sampler) => sampler.to_string(),
            None if own => "the model's own scheduler".into(),
            None => Name::Dpmpp.to_string(),
        };
        let pc = &self.pc;
        if (pc.predictor.is_some() || pc.corrector.is_some() || pc.snr.is_some())
            && self.sampler != Some(Name::Pc)
        {
            let problem = format!("--predictor, --corrector and --snr belong to --sampler pc, not {what}");
            return Err(Usage(problem).into());
        }
        let takes_noise = match (self.sampler, &saved.scheduler) {
            (None, Some(scheduler)) => matches!(scheduler, SchedulerConfig::Ddim(_)),
            (sampler, _) => matches!(sampler, None | Some(Name::Dpmpp | Name::Ddim)),
        };
        if self.eta.is_some() && !takes_noise {
            return Err(Usage(format!("--eta belongs to --sampler dpmpp or ddim, not {what}")).into());
        }
        if self.sampler == Some(Name::Ode) && pc.steps.is_some() {
            session.say("--steps plays no part: ode chooses its own steps by --rtol and --atol");
        }
        Ok(())
    }

    /// The rows that are asked for, and what they are in words.
    fn rows(&self, saved: &SavedModel) -> anyhow::Result<(Rows, String)> {
        if let (None, Some(scheduler)) = (self.sampler, &saved.scheduler) {
            return Ok(self.scheduler(scheduler)?);
        }
        let (sde, time) = (saved.sde()?, saved.time());
        if self.sampler == Some(Name::Pc) {
            let (table, name) = self.pc.table(&saved.config, &sde)?;
            return Ok((Rows::Pc(table), name));
        }
        let (table, name) = self.few_step(sde.as_ref(), time)?;
        Ok((Rows::Solver(table), name))
    }

    /// The scheduler of a diffusers folder.
    fn scheduler(&self, config: &SchedulerConfig) -> langevin::Result<(Rows, String)> {
        let text = serde_json::to_string(config)
            .map_err(|e| langevin::Error::invalid("scheduler", "its text", e.to_string()))?;
        let steps = |default: usize| self.pc.steps.map_or(default, |n| n as usize);
        Ok(match Scheduler::from_json(&text)? {
            Scheduler::Ddpm(chain) => {
                let n = steps(chain.num_train_timesteps);
                (Rows::Solver(chain.ddpm(n)?), format!("DDPMScheduler, {}", count(n, "step")))
            }
            Scheduler::Ddim(chain) => {
                let n = steps(DDIM);
                let eta = self.eta.unwrap_or(0.0);
                (Rows::Solver(chain.ddim(n, eta)?), format!("DDIMScheduler, eta {eta}, {}", count(n, "step")))
            }
            Scheduler::ScoreSdeVe(ve) => {
                let n = steps(ve.num_train_timesteps);
                (
                    Rows::Pc(PcTable::new(&ve.pc_options(n)?)?),
                    format!("ScoreSdeVeScheduler, {}", count(n, "step")),
                )
            }
        })
    }

    fn few_step(&self, sde: &dyn Sde, time: TimeConditioning) -> langevin::Result<(SolverTable, String)> {
        let sampler = self.sampler.unwrap_or(Name::Dpmpp);
        let solver = match sampler {
            Name::Heun => Solver::Heun,
            Name::Ddim => Solver::Ddim { eta: self.eta.unwrap_or(0.0) },
            Name::Pc | Name::Ode | Name::Dpmpp => {
                Solver::DpmSolverPlusPlus2M { eta: self.eta.unwrap_or(1.0) }
            }
        };
        let steps = self.pc.steps.map_or(FEW, |n| n as usize);
        let t_eps = sde.default_t_eps();
        let spacing = Spacing::LogNoise;
        let clip = (self.clip != 0.0).then_some(self.clip);
        let table =
            few_step(&FewStepOptions { sde, time, solver, spacing, steps, t_eps, denoise: true, clip })?;
        let eta = match solver {
            Solver::Heun => String::new(),
            Solver::Ddim { eta } | Solver::DpmSolverPlusPlus2M { eta } => format!(", eta {eta}"),
        };
        Ok((table, format!("{sampler}{eta}, {}", count(steps, "step"))))
    }
}
