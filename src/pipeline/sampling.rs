//! Images from noise.

use std::sync::Arc;

use super::flow::FlowRun;
use super::guide::{Guide, PreparedGuide};
use super::images::Images;
use super::model::Model;
use super::progress::{Progress, Stop, Watch};
use crate::error::{Error, Result};
use crate::gpu::blocking;
use crate::graph::Memory;
use crate::ops::sampler_step::Norm;
use crate::output::Provenance;
use crate::sampling::flow::{FlowOptions, Toward, end, integrate};
use crate::sampling::prior::prior;
use crate::sampling::run::{ImageSeed, Method, Sampler, SamplerDraft};
use crate::sampling::solvers::{Solver, SolverRun};

/// Images that are drawn together unless told otherwise.
pub(super) const BATCH: usize = 16;

/// Images to be drawn by a solver: one for each seed, which gives the same image whatever the batch. Made by [`Model::sampler`].
///
/// ```
/// use langevin::gpu::Gpu;
/// use langevin::pipeline::{Pretrained, Stop};
/// use langevin::sampling::solvers::Ddim;
///
/// # fn main() -> langevin::Result<()> {
/// let gpu = Gpu::open_default()?;
/// let model = Pretrained::embedded().load(&gpu)?;
/// let stop = Stop::new();
/// let images = model
///     .sampler(Ddim::steps(2))
///     .seeds([3, 8])
///     .progress(|p| eprintln!("step {} of {}", p.step, p.steps))
///     .until(&stop)
///     .draw()?;
/// assert_eq!(images.names(), ["000003", "000008"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Sampling<'m> {
    model: &'m Model,
    solver: Arc<dyn Solver>,
    images: Vec<ImageSeed>,
    batch: usize,
    guide: Option<Guide>,
    watch: Watch<'m>,
}

impl<'m> Sampling<'m> {
    pub(super) fn new(model: &'m Model, solver: Arc<dyn Solver>) -> Self {
        let images = (0..BATCH as u64).map(|seed| ImageSeed { seed, image: 0 }).collect();
        Self { model, solver, images, batch: BATCH, guide: None, watch: Watch::default() }
    }

    /// One image for each seed; 0 to 15 unless told otherwise.
    pub fn seeds(mut self, seeds: impl IntoIterator<Item = u64>) -> Self {
        self.images = seeds.into_iter().map(|seed| ImageSeed { seed, image: 0 }).collect();
        self
    }

    /// Images that are drawn together, 16 unless told otherwise; fewer where the device has no room for them.
    pub fn batch(mut self, batch: usize) -> Self {
        self.batch = batch;
        self
    }

    /// Images of one class, by the gradient of a classifier.
    pub fn guided(mut self, guide: Guide) -> Self {
        self.guide = Some(guide);
        self
    }

    /// Tells how far it is, at every step.
    pub fn progress(mut self, listener: impl FnMut(Progress) + 'm) -> Self {
        self.watch.listen(listener);
        self
    }

    /// Ends early when `stop` says so: the images of whole batches are given.
    pub fn until(mut self, stop: &Stop) -> Self {
        self.watch.until(stop);
        self
    }

    /// Draws the images.
    ///
    /// # Errors
    /// [`Error::Invalid`] where an option of the solver is out of range or it cannot sample this model; [`Error::Limit`] where one image
    /// does not fit the device; [`Error::NonFinite`] where the solver diverged; what the device reports.
    pub async fn draw_async(mut self) -> Result<Images> {
        let images = std::mem::take(&mut self.images);
        let mut watch = std::mem::take(&mut self.watch);
        let [h, w, c] = self.model.image_shape();
        let mut drawn = Images::from_nhwc([0, h, w, c], Vec::new())?;
        let mut nfe = 0;
        let (Some(first), Some(last)) = (images.first(), images.last()) else { return Ok(drawn) };
        let seeds = format!("{}-{}", first.seed, last.seed);
        let mut sampler = self.plan_for(images.len())?.prepare_async().await?;
        watch.begin(sampler.steps() * images.len().div_ceil(sampler.batch()), images.len());
        for (number, part) in images.chunks(sampler.batch()).enumerate() {
            let before = number * sampler.steps();
            let mut proceed = |step| watch.step(before + step);
            let Some(done) = sampler.draw_async(part, None, &mut proceed).await? else { break };
            nfe = nfe.max(done.nfe);
            drawn.extend(&done.images)?;
            watch.images(drawn.len(), nfe);
        }
        let about = sampler.about.with("seeds", seeds).with("nfe", nfe.to_string());
        Ok(drawn.with_about(about))
    }

    /// [`Sampling::draw_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Sampling::draw_async`].
    pub fn draw(self) -> Result<Images> {
        blocking(self.draw_async())
    }

    /// The sampler on paper: its memory and evaluations are known, nothing is allocated.
    ///
    /// # Errors
    /// As [`Sampling::draw`].
    pub fn plan(self) -> Result<SamplingPlan<'m>> {
        let n = self.images.len();
        self.plan_for(n)
    }

    fn plan_for(self, n: usize) -> Result<SamplingPlan<'m>> {
        if self.batch == 0 {
            return Err(Error::invalid("batch", 0, "give at least 1"));
        }
        SamplingPlan::new(self.model, self.solver, self.batch.min(n).max(1), self.guide)
    }
}

/// A sampler on paper, for batches that the device has room for.
#[derive(Debug)]
pub struct SamplingPlan<'m> {
    model: &'m Model,
    solver: Arc<dyn Solver>,
    run: SolverRun,
    guide: Option<Guide>,
    name: String,
    batch: usize,
    drafted: Drafted,
}

#[derive(Debug)]
struct Drafted {
    /// None for an adaptive solver, whose plan depends on the batch at hand.
    sampler: Option<SamplerDraft>,
    flops: Option<f64>,
    memory: Memory,
}

impl<'m> SamplingPlan<'m> {
    fn new(model: &'m Model, solver: Arc<dyn Solver>, batch: usize, guide: Option<Guide>) -> Result<Self> {
        let problem = model.problem()?;
        let run = solver.plan(&problem)?;
        let mut name = solver.describe(&problem)?;
        if let Some(guide) = &guide {
            if matches!(run, SolverRun::Flow { .. } | SolverRun::Rows { raw_output: true, .. }) {
                let problem = "it is not guided by a classifier; the solvers of few steps and pc are";
                return Err(Error::invalid("sampler", solver.name(), problem));
            }
            guide.check(model)?;
            name = format!("{name}, {}", guide.describe());
        }
        let drafted = |n| {
            let drafted = draft(model, &run, n, guide.as_ref())?;
            let bytes = drafted.memory.total();
            Ok((drafted, bytes))
        };
        let (batch, drafted) = match is_coupled(&run) {
            // The batch is part of the result.
            true => (batch, drafted(batch)?.0),
            false => model.that_fits(batch, drafted)?,
        };
        Ok(Self { model, solver, run, guide, name, batch, drafted })
    }

    /// What it is, in words: `dpmpp, eta 1, 20 steps`.
    pub fn describe(&self) -> &str {
        &self.name
    }

    /// Images that are drawn together.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Evaluations of the network for an image; those of an adaptive solver are not known before.
    pub fn nfe(&self) -> Option<usize> {
        self.run.evaluations()
    }

    /// Floating-point operations of a step of a batch; not known before for an adaptive solver.
    pub fn flops(&self) -> Option<f64> {
        self.drafted.flops
    }

    /// Device memory.
    pub fn memory(&self) -> Memory {
        self.drafted.memory
    }

    /// Whether images of a batch depend on each other, so that its size is part of the result.
    pub fn is_coupled(&self) -> bool {
        is_coupled(&self.run)
    }

    /// Allocates and compiles. Where the device refuses the memory, as one that shares it with the processor may although its driver named
    /// more, half the batch is tried.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where one image is too much; those of reading the weights; what the device reports.
    pub async fn prepare_async(self) -> Result<PreparedSampling<'m>> {
        let Self { model, solver, run, guide, name, mut batch, mut drafted } = self;
        let about = model.provenance()?.with("sampler", &name);
        loop {
            match kind(model, &run, &drafted, batch, guide.as_ref()).await {
                Err(Error::OutOfMemory { .. }) if batch > 1 && !is_coupled(&run) => {
                    let half = batch.div_ceil(2);
                    tracing::info!(
                        "the device refused memory for {batch} images at a time: {half} are tried"
                    );
                    let smaller = SamplingPlan::new(model, Arc::clone(&solver), half, guide.clone())?;
                    (batch, drafted) = (smaller.batch, smaller.drafted);
                }
                kind => {
                    let (kind, memory) = (kind?, drafted.memory);
                    return Ok(PreparedSampling { model, kind, name, batch, memory, about });
                }
            }
        }
    }

    /// [`SamplingPlan::prepare_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`SamplingPlan::prepare_async`].
    pub fn prepare(self) -> Result<PreparedSampling<'m>> {
        blocking(self.prepare_async())
    }
}

/// Whether images of a batch depend on each other by more than a tolerance.
fn is_coupled(run: &SolverRun) -> bool {
    match run {
        SolverRun::Pc { norm, .. } => *norm == Norm::Batch,
        SolverRun::Flow { options, .. } => options.norm == Norm::Batch,
        SolverRun::Rows { .. } => false,
    }
}

fn draft(model: &Model, run: &SolverRun, n: usize, guide: Option<&Guide>) -> Result<Drafted> {
    let [h, w, c] = model.image_shape();
    let (shape, choice) = ([n, h, w, c], model.kernels().choice.clone());
    let (method, raw) = match run {
        SolverRun::Pc { table, norm } => (Method::Pc { table, norm: *norm, constraint: None }, false),
        SolverRun::Rows { table, raw_output } => (Method::Solver(table), *raw_output),
        SolverRun::Flow { options, .. } => {
            let memory = super::flow::draft(model, n, false, options)?.memory();
            return Ok(Drafted { sampler: None, flops: None, memory });
        }
    };
    let score = model.score(raw);
    let gpu = model.gpu();
    let draft = match guide {
        Some(guide) => SamplerDraft::new(gpu, &guide.score(&score), method, shape, choice),
        None => SamplerDraft::new(gpu, &score, method, shape, choice),
    };
    let draft = model.tuned(draft?)?;
    let (flops, memory) = (Some(draft.flops()), draft.memory());
    Ok(Drafted { sampler: Some(draft), flops, memory })
}

async fn kind<'m>(
    model: &'m Model,
    run: &SolverRun,
    drafted: &Drafted,
    batch: usize,
    guide: Option<&Guide>,
) -> Result<Kind<'m>> {
    match (&drafted.sampler, run) {
        (Some(draft), run) => {
            let mut resources = model.weights_async().await?.resources();
            let guide = match guide {
                Some(guide) => Some(guide.prepare_async(model.gpu(), batch).await?),
                None => None,
            };
            if let Some(guide) = &guide {
                resources = guide.resources(resources);
            }
            let sampler = Box::new(draft.build_async(model.gpu(), resources).await?);
            let nfe = run.evaluations().unwrap_or_default();
            Ok(Kind::Steps { sampler, nfe, _guide: guide })
        }
        (None, SolverRun::Flow { options, denoise }) => {
            model.weights_async().await?;
            let flow = Box::new(FlowRun::new(model, false, *options)?);
            Ok(Kind::Flow { flow, options: *options, denoise: *denoise })
        }
        // bug: only a flow has no draft.
        (None, _) => Err(Error::invalid("sampler", "a table", "it was not drafted")),
    }
}

/// A sampler on the device, for batch after batch.
#[derive(Debug)]
pub struct PreparedSampling<'m> {
    model: &'m Model,
    kind: Kind<'m>,
    name: String,
    batch: usize,
    memory: Memory,
    about: Provenance,
}

#[derive(Debug)]
enum Kind<'m> {
    Steps { sampler: Box<Sampler>, nfe: usize, _guide: Option<PreparedGuide> },
    Flow { flow: Box<FlowRun<'m>>, options: FlowOptions, denoise: bool },
}

/// Images of a batch, and what they took.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Drawn {
    /// The images, with the seeds for names.
    pub images: Images,
    /// Evaluations of the network for each.
    pub nfe: usize,
}

/// The states of a batch on its way, every so many steps.
#[derive(Debug)]
pub struct Trajectory {
    every: usize,
    states: Vec<Images>,
}

impl Trajectory {
    /// Keeps the state of every `every`-th step and of the last.
    pub fn every(every: usize) -> Self {
        Self { every: every.max(1), states: Vec::new() }
    }

    /// The states, the first first.
    pub fn states(&self) -> &[Images] {
        &self.states
    }
}

/// Steps of a flow for progress: a thousandth of the way each.
pub(super) const FLOW_STEPS: usize = 1000;

impl PreparedSampling<'_> {
    /// What it is, in words.
    pub fn describe(&self) -> &str {
        &self.name
    }

    /// Images that are drawn together.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Steps of a run, as its progress counts them.
    pub fn steps(&self) -> usize {
        match &self.kind {
            Kind::Steps { sampler, .. } => sampler.steps(),
            Kind::Flow { .. } => FLOW_STEPS,
        }
    }

    /// Device memory.
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// How its images come about.
    pub fn about(&self) -> &Provenance {
        &self.about
    }

    /// Draws a batch of at most [`PreparedSampling::batch`] images. `proceed` hears the steps done so far and ends the run by returning false:
    /// none then.
    ///
    /// # Errors
    /// [`Error::NonFinite`] where the solver diverged; [`Error::Invalid`] for no or too many images; what the device reports.
    pub async fn draw_async(
        &mut self,
        images: &[ImageSeed],
        trajectory: Option<&mut Trajectory>,
        proceed: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<Drawn>> {
        let (hwc, centered) = (self.model.image_shape(), self.model.centered());
        let mut states = Vec::new();
        let drawn = match (&mut self.kind, &trajectory) {
            (Kind::Steps { sampler, nfe, .. }, Some(keep)) => {
                sampler.run_keeping_async(images, keep.every, &mut states, proceed).await?.map(|x| (x, *nfe))
            }
            (Kind::Steps { sampler, nfe, .. }, None) => {
                sampler.run_async(images, proceed).await?.map(|x| (x, *nfe))
            }
            (Kind::Flow { flow, options, denoise }, keep) => {
                let keep = keep.is_some().then_some(&mut states);
                flow_from_prior(self.model, flow, *options, *denoise, images, keep, proceed)?
            }
        };
        let of_model = |x: Vec<f32>| {
            let [h, w, c] = hwc;
            let names = images.iter().map(|image| format!("{:06}", image.seed)).collect();
            let images = Images::from_model([x.len() / (h * w * c), h, w, c], x, centered)?;
            images.with_names(names)
        };
        if let Some(trajectory) = trajectory {
            for state in states {
                trajectory.states.push(of_model(state)?);
            }
        }
        let Some((x, nfe)) = drawn else { return Ok(None) };
        let about = self.about.clone().with("nfe", nfe.to_string());
        Ok(Some(Drawn { images: of_model(x)?.with_about(about), nfe }))
    }

    /// [`PreparedSampling::draw_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`PreparedSampling::draw_async`].
    pub fn draw(
        &mut self,
        images: &[ImageSeed],
        trajectory: Option<&mut Trajectory>,
        proceed: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<Drawn>> {
        blocking(self.draw_async(images, trajectory, proceed))
    }
}

/// Images by the probability-flow ODE from the prior, in the model's scale, and the evaluations.
fn flow_from_prior(
    model: &Model,
    flow: &mut FlowRun<'_>,
    options: FlowOptions,
    denoise: bool,
    images: &[ImageSeed],
    mut states: Option<&mut Vec<Vec<f32>>>,
    proceed: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<(Vec<f32>, usize)>> {
    let start = prior(model.gpu(), images, model.image_shape(), model.sde()?.prior_std())?;
    let ode = flow.ode(images.len())?;
    ode.set(&start)?;
    let nfe = integrate(ode, Toward::Data, options, &mut |t, ode| {
        if let Some(states) = &mut states {
            states.push(ode.get()?);
        }
        // Progress through t stands for steps, whose number nobody knows before.
        Ok(proceed(((1.0 - t) * FLOW_STEPS as f64) as usize))
    })?;
    let Some(nfe) = nfe else { return Ok(None) };
    let flowed = end(ode, options.t_eps, denoise, nfe)?;
    Ok(Some((flowed.x, flowed.nfe)))
}
