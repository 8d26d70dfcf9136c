//! The probability-flow ODE for batches of images: what encode, decode, interpolate, likelihood and `--sampler ode` share.

use std::sync::Arc;

use clap::Args;
use langevin::checkpoint::{SavedModel, Which};
use langevin::gpu::Gpu;
use langevin::graph::{Drafts, Kernels};
use langevin::models::Weights;
use langevin::sampling::flow::{self, FlowOptions, Flowed};
use langevin::sampling::ode::{Ode, OdeDraft};
use langevin::sampling::runge_kutta::Tolerance;
use langevin::sampling::solvers::RK45;
use langevin::score::ModelScore;
use langevin::sde::Sde;

use crate::model::Facts;
use crate::sampler::Norm;
use crate::session::{Session, that_fits};

/// How exact the ODE is solved.
#[derive(Args, Clone)]
pub struct FlowArgs {
    /// Relative tolerance of the adaptive Runge-Kutta method.
    #[arg(long, value_name = "F", default_value_t = 1e-5)]
    rtol: f64,
    /// Absolute tolerance.
    #[arg(long, value_name = "F", default_value_t = 1e-5)]
    atol: f64,
    /// The time near the data where the ODE begins or ends.
    #[arg(long, value_name = "F")]
    t_eps: Option<f64>,
    /// Over what the error of a step is taken: each image, which then has steps of its own, or the batch, as in the authors' code;
    /// unless given the batch, and for interpolate each image.
    #[arg(long, value_enum, value_name = "NAME")]
    norm: Option<Norm>,
    /// Images at a time.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,
}

impl FlowArgs {
    /// With the time near the data and the norm that are meant where none is given.
    pub fn options(&self, t_eps: f64, norm: Norm) -> langevin::Result<FlowOptions> {
        let t_eps = self.t_eps.unwrap_or(t_eps);
        if !(t_eps > 0.0 && t_eps < 1.0) {
            return Err(langevin::Error::invalid("--t-eps", t_eps, "a time between 0 and 1"));
        }
        Ok(FlowOptions {
            t_eps,
            tolerance: Tolerance::new(self.rtol, self.atol)?,
            norm: self.norm.unwrap_or(norm).into(),
            method: &RK45,
        })
    }
}

/// How latents become images.
#[derive(Args, Clone)]
pub struct DecodeArgs {
    /// Scale the latents by this; below 1 the images are more alike and smoother.
    #[arg(long, value_name = "F", default_value_t = 1.0, value_parser = temperature)]
    pub temperature: f64,
    /// End with the mean of one step of reverse diffusion.
    #[arg(long)]
    pub denoise: bool,
    #[command(flatten)]
    pub flow: FlowArgs,
}

fn temperature(text: &str) -> Result<f64, String> {
    let factor: f64 = text.parse().map_err(|_| "a number is expected, such as 0.9".to_owned())?;
    if factor.is_finite() && factor >= 0.0 { Ok(factor) } else { Err("0 or above is expected".into()) }
}

/// The ODE of a model, built for the batch at hand.
pub struct Flow<'a> {
    gpu: &'a Gpu,
    saved: &'a SavedModel,
    weights: Weights,
    sde: Arc<dyn Sde>,
    probe: bool,
    kernels: Kernels,
    ode: Option<Box<Ode>>,
}

/// The ODE of a model for a batch of `n`, on paper; with `probe` the divergence is integrated too.
pub fn draft(
    gpu: &Gpu,
    saved: &SavedModel,
    n: usize,
    probe: bool,
    kernels: &Kernels,
) -> langevin::Result<OdeDraft> {
    let model = saved.network_model();
    let score = ModelScore { model: &model, unscaled: saved.unscaled() };
    let [h, w, c] = saved.hwc();
    OdeDraft::new(gpu, &score, [n, h, w, c], probe, kernels.choice.clone())?.tuned(kernels.tuner.as_ref())
}

/// Refuses what is larger than the device's memory; one image is tried in any case.
pub fn room(gpu: &Gpu, n: usize, bytes: u64) -> langevin::Result<()> {
    if n == 1 { Ok(()) } else { gpu.adapter().check_room("the plan", bytes) }
}

/// What became of a list of images.
pub struct Done {
    /// `n h w c`, fewer than were given where Ctrl-C came between batches.
    pub x: Vec<f32>,
    /// The most evaluations that a batch took.
    pub nfe: usize,
}

impl<'a> Flow<'a> {
    /// Reads the weights; with `probe` the divergence is integrated too.
    pub fn new(
        gpu: &'a Gpu,
        saved: &'a SavedModel,
        which: Which,
        probe: bool,
        kernels: Kernels,
    ) -> langevin::Result<Self> {
        let sde = saved.sde()?;
        Ok(Self { gpu, saved, weights: saved.upload(gpu, which)?, sde, probe, kernels, ode: None })
    }

    /// The SDE.
    pub fn sde(&self) -> &Arc<dyn Sde> {
        &self.sde
    }

    /// How many of `n` images are taken at a time where `asked` are asked for.
    pub fn batch(&self, asked: u32, n: usize, session: &Session) -> anyhow::Result<usize> {
        let fits = |n| {
            let draft = draft(self.gpu, self.saved, n, self.probe, &self.kernels)?;
            Ok(room(self.gpu, n, draft.memory().total())?)
        };
        Ok(that_fits((asked as usize).min(n), session, fits)?.0)
    }

    /// The ODE for a batch of `n`: a last, smaller batch has one of its own, since padding would take part in the error norm.
    pub fn ode(&mut self, n: usize) -> langevin::Result<&mut Ode> {
        let ode = match self.ode.take() {
            Some(ode) if ode.shape()[0] == n => ode,
            _ => {
                let (resources, time) = (self.weights.resources(), self.saved.time());
                let draft = draft(self.gpu, self.saved, n, self.probe, &self.kernels)?;
                Box::new(draft.build(self.gpu, resources, &self.sde, time)?)
            }
        };
        Ok(self.ode.insert(ode))
    }

    /// Images to latents, `n h w c` scaled as the model takes them.
    pub fn encode(
        &mut self,
        x: &[f32],
        batch: u32,
        options: FlowOptions,
        session: &Session,
    ) -> anyhow::Result<Done> {
        self.each(x, batch, "encoding", session, |ode, x, progress| {
            flow::encode(ode, x, options, &mut |t| progress(t))
        })
    }

    /// Latents to images, `n h w c` scaled as the model gives them.
    pub fn decode(
        &mut self,
        mut z: Vec<f32>,
        how: &DecodeArgs,
        options: FlowOptions,
        session: &Session,
    ) -> anyhow::Result<Done> {
        z.iter_mut().for_each(|v| *v *= how.temperature as f32);
        let denoise = how.denoise;
        self.each(&z, how.flow.batch, "decoding", session, |ode, z, progress| {
            flow::decode(ode, z, options, denoise, &mut |t| progress(1.0 - t))
        })
    }

    fn each(
        &mut self,
        x: &[f32],
        batch: u32,
        what: &str,
        session: &Session,
        mut run: impl FnMut(&mut Ode, &[f32], &mut dyn FnMut(f64) -> bool) -> langevin::Result<Option<Flowed>>,
    ) -> anyhow::Result<Done> {
        let size: usize = self.saved.hwc().iter().product();
        let n = x.len() / size;
        let batch = self.batch(batch, n, session)?;
        let bar = session.bar(1000 * n as u64, what);
        let mut done = Done { x: Vec::with_capacity(x.len()), nfe: 0 };
        for part in x.chunks(size * batch) {
            let (before, images) = (done.x.len() / size, part.len() / size);
            let ode = self.ode(images)?;
            let flowed = run(ode, part, &mut |share| {
                bar.set_position((1000.0 * (before as f64 + share * images as f64)) as u64);
                !session.is_interrupted()
            })?;
            let Some(flowed) = flowed else { break };
            done.x.extend(flowed.x);
            done.nfe = done.nfe.max(flowed.nfe);
            bar.set_prefix(format!(", {} of {n} images, NFE {}", done.x.len() / size, done.nfe));
        }
        bar.finish_and_clear();
        Ok(done)
    }
}
