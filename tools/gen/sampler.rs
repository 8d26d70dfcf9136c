//! The sampler that the command line and the configuration ask for.

use std::sync::Arc;

use clap::Args;
use langevin::checkpoint::{SavedModel, Which};
use langevin::gpu::Gpu;
use langevin::graph::Choice;
use langevin::models::Config;
use langevin::models::config::{self, Method as Name, Sde as SdeName};
use langevin::nn::trace::WEIGHTS;
use langevin::ops::sampler_step::Norm;
use langevin::sampling::coefficients::{Corrector, PcOptions, PcTable, Predictor};
use langevin::sampling::few_step::{FewStepOptions, Solver, SolverTable, Spacing, few_step};
use langevin::sampling::ode::{Ode, OdeDraft};
use langevin::sampling::prior::prior;
use langevin::sampling::rk45::{Tolerance, solve};
use langevin::sampling::run::{ImageSeed, Method, Sampler, SamplerDraft};
use langevin::score::{ModelScore, NetworkModel};
use langevin::sde::{Sde, TimeConditioning};
use langevin::training::{sde_of, time_of};

use crate::commands::class::Guide;
use crate::exit::Usage;
use crate::session::Session;

/// Steps of a few-step solver where nothing else is said.
const FEW: usize = 20;

/// How images are drawn.
#[derive(Args, Clone)]
pub struct SamplerArgs {
    /// pc (predictor-corrector), ode (adaptive RK45), heun, dpmpp (DPM-Solver++(2M)), ddim.
    #[arg(long, value_name = "NAME", default_value = "dpmpp", value_parser = name::<Name>)]
    sampler: Name,
    /// Of pc: euler_maruyama, reverse_diffusion, ancestral_sampling, none; the configuration's unless given.
    #[arg(long, value_name = "NAME", value_parser = name::<config::Predictor>)]
    predictor: Option<config::Predictor>,
    /// Of pc: langevin, ald, none; the configuration's unless given.
    #[arg(long, value_name = "NAME", value_parser = name::<config::Corrector>)]
    corrector: Option<config::Corrector>,
    /// Steps: 20 unless given, for pc as many as the model has noise levels.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,
    /// Signal-to-noise ratio of pc's corrector; the configuration's unless given.
    #[arg(long, value_name = "F")]
    snr: Option<f64>,
    /// Noise of ddim, from 0 (none) to 1 (ancestral).
    #[arg(long, value_name = "F", default_value_t = 0.0)]
    eta: f64,
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

/// A sampler on the device.
pub struct Run<'a> {
    /// What it is, in words.
    pub name: String,
    /// Steps of a run; those of an adaptive solver are not known before.
    pub steps: usize,
    /// Device memory in bytes.
    pub memory: u64,
    gpu: &'a Gpu,
    kind: Kind,
    sde: Arc<dyn Sde>,
    shape: [usize; 4],
}

enum Kind {
    Steps { sampler: Box<Sampler>, nfe: usize },
    Ode { ode: Box<Ode>, tolerance: Tolerance },
}

/// Where states of the first batch are kept: every so many steps, and the place.
pub type Keep<'s> = Option<(usize, &'s mut Vec<Vec<f32>>)>;

impl<'a> Run<'a> {
    /// Traces, plans and builds the sampler for batches of `n`.
    pub fn new(
        gpu: &'a Gpu,
        saved: &SavedModel,
        which: Which,
        args: &SamplerArgs,
        n: usize,
        guide: Option<&Guide>,
        session: &Session,
    ) -> anyhow::Result<Self> {
        let config = &saved.config;
        let model = NetworkModel { network: saved.network.as_ref(), set: WEIGHTS };
        let score = ModelScore { model: &model, unscaled: config.training.sde == SdeName::Ve };
        let size = config.data.image_size;
        let shape = [n, size, size, config.data.num_channels];
        let sde = sde_of(config)?;
        let time = time_of(config);
        args.check(session)?;
        let resources = saved.upload(gpu, which)?.resources();
        let choice = Choice::for_device(gpu);
        if args.sampler == Name::Ode && guide.is_some() {
            let problem = "--sampler ode is not guided by a classifier; take dpmpp, heun, ddim or pc";
            return Err(Usage(problem.into()).into());
        }
        if args.sampler == Name::Ode {
            let tolerance = Tolerance::new(args.rtol, args.atol)?;
            let draft = OdeDraft::new(gpu, &score, shape, false, choice)?;
            let ode = Box::new(draft.build(gpu, resources, &sde, time)?);
            let name = format!("ode, rtol {}, atol {}", args.rtol, args.atol);
            let (memory, kind) = (draft.memory().total(), Kind::Ode { ode, tolerance });
            return Ok(Self { name, steps: 1000, memory, gpu, kind, sde, shape });
        }
        let draft = |method: Method<'_>| match guide {
            Some(guide) => guide.with(&score, |score| SamplerDraft::new(gpu, score, method, shape, choice)),
            None => SamplerDraft::new(gpu, &score, method, shape, choice),
        };
        let (draft, mut name, nfe) = if args.sampler == Name::Pc {
            let (table, name) = args.pc(config, &sde, time)?;
            let method = Method::Pc { table: &table, norm: Norm::default(), constraint: None };
            (draft(method)?, name, table.evaluations())
        } else {
            let (table, name) = args.few_step(sde.as_ref(), time)?;
            (draft(Method::Solver(&table))?, name, table.rows.len())
        };
        let mut resources = resources;
        if let Some(guide) = guide {
            resources = guide.resources(resources);
            name = format!("{name}, {}", guide.name);
        }
        let sampler = Box::new(draft.build(gpu, resources)?);
        let (steps, memory) = (sampler.steps(), draft.memory().total());
        Ok(Self { name, steps, memory, gpu, kind: Kind::Steps { sampler, nfe }, sde, shape })
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
            Kind::Ode { ode, tolerance } => {
                let [n, h, w, c] = self.shape;
                let elements = images.len() * h * w * c;
                let padded: Vec<ImageSeed> = (0..n).map(|i| images[i.min(images.len() - 1)]).collect();
                ode.set(&prior(self.gpu, &padded, [h, w, c], self.sde.prior_std())?)?;
                let (end, mut states) = (self.sde.default_t_eps(), keep);
                let mut stopped = false;
                let report = solve(ode.as_mut(), 1.0, end, *tolerance, |t, ode| {
                    if let Some((_, states)) = &mut states {
                        let mut x = ode.get()?;
                        x.truncate(elements);
                        states.push(x);
                    }
                    // Progress through t stands for steps, whose number nobody knows before.
                    stopped |= !proceed(((1.0 - t) * 1000.0) as usize);
                    match stopped {
                        true => Err(langevin::Error::invalid("sampling", "stopped", "by Ctrl-C")),
                        false => Ok(()),
                    }
                });
                if stopped {
                    return Ok(None);
                }
                let nfe = report?.reached_end()?.nfe;
                let mut x = ode.get()?;
                x.truncate(elements);
                Ok(Some((x, nfe)))
            }
        }
    }
}

impl SamplerArgs {
    /// Options of another sampler are said rather than passed over in silence.
    fn check(&self, session: &Session) -> anyhow::Result<()> {
        let pc_only = self.predictor.is_some() || self.corrector.is_some() || self.snr.is_some();
        if pc_only && self.sampler != Name::Pc {
            let problem =
                format!("--predictor, --corrector and --snr belong to --sampler pc, not {}", self.sampler);
            return Err(Usage(problem).into());
        }
        if self.eta != 0.0 && self.sampler != Name::Ddim {
            return Err(Usage(format!("--eta belongs to --sampler ddim, not {}", self.sampler)).into());
        }
        if self.sampler == Name::Ode && self.steps.is_some() {
            session.say("--steps plays no part: ode chooses its own steps by --rtol and --atol");
        }
        Ok(())
    }

    fn pc(
        &self,
        config: &Config,
        sde: &Arc<dyn Sde>,
        time: TimeConditioning,
    ) -> langevin::Result<(PcTable, String)> {
        let s = &config.sampling;
        let (predictor, corrector) =
            (self.predictor.unwrap_or(s.predictor), self.corrector.unwrap_or(s.corrector));
        let (snr, steps) = (self.snr.unwrap_or(s.snr), self.steps.map_or(sde.n(), |n| n as usize));
        let table = PcTable::new(&PcOptions {
            sde: sde.with_n(steps)?,
            time,
            predictor: match predictor {
                config::Predictor::EulerMaruyama => Predictor::EulerMaruyama,
                config::Predictor::ReverseDiffusion => Predictor::ReverseDiffusion,
                config::Predictor::AncestralSampling => Predictor::AncestralSampling,
                config::Predictor::None => Predictor::None,
            },
            corrector: match corrector {
                config::Corrector::Langevin => Corrector::Langevin,
                config::Corrector::Ald => Corrector::Ald,
                config::Corrector::None => Corrector::None,
            },
            snr,
            n_steps_each: s.n_steps_each,
            probability_flow: s.probability_flow,
            denoise: s.noise_removal,
            t_eps: sde.default_t_eps(),
        })?;
        Ok((table, format!("pc ({predictor}, {corrector}, snr {snr}), {steps} steps")))
    }

    fn few_step(&self, sde: &dyn Sde, time: TimeConditioning) -> langevin::Result<(SolverTable, String)> {
        let solver = match self.sampler {
            Name::Heun => Solver::Heun,
            Name::Ddim => Solver::Ddim { eta: self.eta },
            Name::Pc | Name::Ode | Name::Dpmpp => Solver::DpmSolverPlusPlus2M,
        };
        let steps = self.steps.map_or(FEW, |n| n as usize);
        let t_eps = sde.default_t_eps();
        let spacing = Spacing::LogNoise;
        let clip = (self.clip != 0.0).then_some(self.clip);
        let table =
            few_step(&FewStepOptions { sde, time, solver, spacing, steps, t_eps, denoise: true, clip })?;
        Ok((table, format!("{}, {steps} steps", self.sampler)))
    }
}
