//! The sampler that the command line, the configuration and the model ask for.

use langevin::checkpoint::{SavedModel, Which};
use langevin::gpu::Gpu;
use langevin::graph::{Drafts, Kernels, Memory};
use langevin::sampling::flow::{FlowOptions, Toward, end, integrate};
use langevin::sampling::prior::prior;
use langevin::sampling::run::{ImageSeed, Method, Sampler, SamplerDraft};
use langevin::sampling::solvers::SolverRun;
use langevin::score::ModelScore;

use crate::commands::class::Guide;
use crate::exit::Usage;
use crate::flow::{self, Flow};
use crate::model::Facts;
use crate::session::Session;
pub use crate::solver::{Norm, PcArgs, SamplerArgs};

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
    run: SolverRun,
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
        let (solver, problem) = (args.solver(saved)?, SamplerArgs::problem(saved)?);
        let mut name = solver.describe(&problem)?;
        let run = solver.plan(&problem)?;
        let (method, raw) = match &run {
            SolverRun::Pc { table, norm } => (Method::Pc { table, norm: *norm, constraint: None }, false),
            SolverRun::Rows { table, raw_output } => (Method::Solver(table), *raw_output),
            _ => {
                if guide.is_some() {
                    let taken = "take dpmpp, heun, ddim or pc";
                    let problem =
                        format!("--sampler {} is not guided by a classifier; {taken}", solver.name());
                    return Err(Usage(problem).into());
                }
                let memory = flow::draft(gpu, saved, n, false, &kernels)?.memory();
                flow::room(gpu, n, memory.total())?;
                return Ok(Self { name, nfe: None, flops: None, memory, kernels, draft: None, run });
            }
        };
        let nfe = run.evaluations();
        let model = saved.network_model();
        if raw && guide.is_some() {
            let problem = "a scheduler of diffusers is not guided by a classifier; name a --sampler";
            return Err(Usage(problem.into()).into());
        }
        let score = ModelScore { model: &model, unscaled: raw || saved.unscaled() };
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
        Ok(Self { name, nfe, flops, memory, kernels, draft: Some(draft), run })
    }
}

impl<'a> Run<'a> {
    /// Builds what is planned.
    pub fn new(
        plan: Plan,
        gpu: &'a Gpu,
        saved: &'a SavedModel,
        which: Which,
        guide: Option<&Guide>,
    ) -> langevin::Result<Self> {
        let (steps, kind) = match (&plan.draft, plan.nfe, &plan.run) {
            (Some(draft), Some(nfe), _) => {
                let mut resources = saved.upload(gpu, which)?.resources();
                if let Some(guide) = guide {
                    resources = guide.resources(resources);
                }
                let sampler = Box::new(draft.build(gpu, resources)?);
                (sampler.steps(), Kind::Steps { sampler, nfe })
            }
            (_, _, &SolverRun::Flow { options, denoise }) => {
                let flow = Box::new(Flow::new(gpu, saved, which, false, plan.kernels)?);
                (1000, Kind::Ode { flow, options, denoise })
            }
            _ => return Err(langevin::Error::invalid("sampler", plan.name, "it has no plan")),
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
