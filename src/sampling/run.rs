//! A sampler ready to run: the plan of a step, the plan of the starting point, and the loop around them.

use super::coefficients::PcTable;
use super::draws::Draws;
use super::few_step::SolverTable;
use super::pc::{Constrain, PcSetting, PcStep};
use super::solver::SolverStep;
use crate::error::{Error, Result};
use crate::gpu::{Gpu, blocking};
use crate::graph::{
    Choice, DType, Draft, DraftOptions, Drafts, Graph, Memory, Plan, Resources, Shape, Value,
};
use crate::ops::elementwise::{assign, scale};
use crate::ops::lookup::Table;
use crate::ops::philox::{self, Purpose, Source};
use crate::ops::sampler_step::Norm;
use crate::score::ScoreFn;

/// What a run computes, one row a step.
#[derive(Clone, Copy, Debug)]
pub enum Method<'a> {
    /// Predictor-corrector sampling.
    Pc {
        /// The coefficients.
        table: &'a PcTable,
        /// How the norms of a Langevin step are taken.
        norm: Norm,
        /// What is imposed after every update.
        constraint: Option<&'a dyn Constrain>,
    },
    /// A few-step solver or a diffusers scheduler.
    Solver(&'a SolverTable),
}

impl Method<'_> {
    fn rows(&self) -> usize {
        match self {
            Self::Pc { table, .. } => table.rows.len(),
            Self::Solver(table) => table.rows.len(),
        }
    }

    fn prior_std(&self) -> f64 {
        match self {
            Self::Pc { table, .. } => table.prior_std,
            Self::Solver(table) => table.prior_std,
        }
    }
}

/// A sampler on paper: its memory is known, nothing is allocated.
#[derive(Debug)]
pub struct SamplerDraft {
    step: Draft,
    prior: Draft,
    values: Values,
    known: Vec<Value>,
    /// Which images of a batch count in norms that they share.
    counted: Option<Value>,
    coefficients: Vec<f32>,
    rows: usize,
    shape: Shape,
}

/// The values of the two graphs that a run touches.
#[derive(Clone, Copy, Debug)]
struct Values {
    x: Value,
    result: Value,
    table: Table,
    source: Source,
    prior_x: Value,
    prior_source: Source,
}

/// A sampler on a device.
#[derive(Debug)]
pub struct Sampler {
    step: Plan,
    prior: Plan,
    values: Values,
    known: Vec<Value>,
    counted: Option<Value>,
    rows: usize,
    shape: Shape,
}

/// One image of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSeed {
    /// The seed.
    pub seed: u64,
    /// The image's number among those of that seed.
    pub image: u32,
}

/// Which states of a run are kept.
enum Keep<'s> {
    Nothing,
    /// That of every so many steps and of the last, in this list.
    Every(usize, &'s mut Vec<Vec<f32>>),
}

fn source(graph: &mut Graph, n: usize, step: Value) -> Source {
    Source { seed: graph.input_u32("seeds", [n, 2]), images: graph.input_u32("images", [n]), step }
}

impl Drafts for SamplerDraft {
    fn map_drafts(mut self, mut map: impl FnMut(&Draft) -> Result<Draft>) -> Result<Self> {
        self.step = map(&self.step)?;
        self.prior = map(&self.prior)?;
        Ok(self)
    }
}

impl SamplerDraft {
    /// Traces and drafts a run of batches of `shape` (`n h w c`).
    ///
    /// # Errors
    /// [`Error::Shape`] from the model, [`Error::Limit`] when a tensor does not fit the device.
    pub fn new(
        gpu: &Gpu,
        score: &dyn ScoreFn,
        method: Method<'_>,
        shape: impl Into<Shape>,
        choice: Choice,
    ) -> Result<Self> {
        let shape = shape.into();
        let mut graph = Graph::new();
        let (table, draws, result, x, coefficients);
        let (mut known, mut counted) = (Vec::new(), None);
        match method {
            Method::Pc { table: pc, norm, constraint } => {
                table = PcStep::table(&mut graph, pc.rows.len());
                draws = source(&mut graph, shape[0], table.counter);
                let imposed = constraint.map(|c| c.constrain(&mut graph, &shape)).transpose()?;
                known = imposed.as_ref().map_or(Vec::new(), |i| i.inputs.clone());
                let constraint = imposed.as_ref().map(|i| i.constraint.as_ref());
                counted = (norm == Norm::Batch).then(|| graph.input("counted", [shape[0]]));
                let setting = PcSetting { score, pc, norm, counted, constraint };
                let step = PcStep::trace(&mut graph, setting, table, &shape, Draws::Philox(draws))?;
                (x, result) = (step.x, if pc.denoise { step.mean } else { step.x });
                coefficients = PcStep::table_data(pc);
            }
            Method::Solver(rows) => {
                table = SolverStep::table(&mut graph, rows.rows.len());
                draws = source(&mut graph, shape[0], table.counter);
                let step = SolverStep::trace(&mut graph, score, rows, table, &shape, Draws::Philox(draws))?;
                (x, result) = (step.x, step.x);
                coefficients = SolverStep::table_data(rows);
            }
        }
        let mut start = Graph::new();
        let no_step = start.state("step", [1], DType::U32);
        let prior_source = source(&mut start, shape[0], no_step);
        let z = philox::normal(&mut start, prior_source, Purpose::PRIOR, shape.clone())?;
        let scaled = scale(&mut start, z, method.prior_std() as f32)?;
        let prior_x = start.state("x", shape.clone(), DType::F32);
        assign(&mut start, prior_x, scaled)?;

        let options = DraftOptions { choice, ..DraftOptions::default() };
        let device = gpu.capabilities();
        Ok(Self {
            step: Draft::new(&graph, &[x, result], device, options.clone())?,
            prior: Draft::new(&start, &[prior_x], device, options)?,
            values: Values { x, result, table, source: draws, prior_x, prior_source },
            known,
            counted,
            coefficients,
            rows: method.rows(),
            shape,
        })
    }

    /// What the sampler will take.
    pub fn memory(&self) -> Memory {
        self.step.memory()
    }

    /// Floating-point operations of one step.
    pub fn flops(&self) -> f64 {
        self.step.flops()
    }

    /// Allocates and compiles; `resources` holds the weights.
    ///
    /// # Errors
    /// What [`Draft::build_async`] says.
    pub async fn build_async(&self, gpu: &Gpu, resources: Resources) -> Result<Sampler> {
        let step = self.step.build_async(gpu, resources).await?;
        let shared = step.binding(self.values.x)?;
        let resources = Resources::new().bind(self.values.prior_x, shared);
        let prior = self.prior.build_async(gpu, resources).await?;
        // A sampler that does nothing has no use for coefficients.
        if step.uses(self.values.table.rows) {
            step.write(self.values.table.rows, &self.coefficients)?;
        }
        Ok(Sampler {
            step,
            prior,
            values: self.values,
            known: self.known.clone(),
            counted: self.counted,
            rows: self.rows,
            shape: self.shape.clone(),
        })
    }

    /// [`SamplerDraft::build_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`SamplerDraft::build_async`].
    pub fn build(&self, gpu: &Gpu, resources: Resources) -> Result<Sampler> {
        blocking(self.build_async(gpu, resources))
    }
}

impl Sampler {
    /// Shape of a batch, `n h w c`.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Steps of a run.
    pub fn steps(&self) -> usize {
        self.rows
    }

    /// The plan of a step, for benchmarks.
    pub fn plan(&mut self) -> &mut Plan {
        &mut self.step
    }

    /// Writes what the constraint imposes: its inputs in order, each for a whole batch.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there are more or fewer inputs than `contents`, [`Error::Shape`] when one has another size.
    pub fn set_known(&self, contents: &[&[f32]]) -> Result<()> {
        if contents.len() != self.known.len() {
            let problem = format!("the constraint takes {}", self.known.len());
            return Err(Error::invalid("known data", contents.len(), problem));
        }
        let inputs = self.known.iter().zip(contents);
        inputs
            .filter(|(input, _)| self.step.uses(**input))
            .try_for_each(|(input, data)| self.step.write(*input, data))
    }

    /// Draws one image for each of `images`, at most a batch of them: `images h w c`, not clipped. A smaller batch is padded; image i
    /// of a seed has the same bits in any batch, but for [`Norm::Batch`], where it depends on the other images and not on the padding. `progress` is told the steps submitted so far and may stop the run by returning false.
    ///
    /// # Errors
    /// [`Error::NonFinite`] when the result holds NaN or infinity; what the device reports. `None` when stopped.
    pub async fn run_async(
        &mut self,
        images: &[ImageSeed],
        progress: impl FnMut(usize) -> bool,
    ) -> Result<Option<Vec<f32>>> {
        self.begin(images)?;
        self.prior.run_async().await?;
        self.finish(images.len(), progress, Keep::Nothing).await
    }

    /// [`Sampler::run_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Sampler::run_async`].
    pub fn run(
        &mut self,
        images: &[ImageSeed],
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<Vec<f32>>> {
        blocking(self.run_async(images, progress))
    }

    /// The same from a given starting point, a whole batch `n h w c`, in place of a draw from the prior.
    ///
    /// # Errors
    /// As [`Sampler::run_async`]; [`Error::Shape`] when `start` is no whole batch.
    pub async fn run_from_async(
        &mut self,
        start: &[f32],
        images: &[ImageSeed],
        progress: impl FnMut(usize) -> bool,
    ) -> Result<Option<Vec<f32>>> {
        self.begin(images)?;
        self.step.write(self.values.x, start)?;
        self.finish(images.len(), progress, Keep::Nothing).await
    }

    /// [`Sampler::run_from_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Sampler::run_from_async`].
    pub fn run_from(
        &mut self,
        start: &[f32],
        images: &[ImageSeed],
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<Vec<f32>>> {
        blocking(self.run_from_async(start, images, progress))
    }

    /// [`Sampler::run_async`], keeping the state of every `every`-th step and of the last, `images h w c` each. Every kept state is read
    /// back, which makes the run slower; its result has the same bits.
    ///
    /// # Errors
    /// As [`Sampler::run_async`].
    pub async fn run_keeping_async(
        &mut self,
        images: &[ImageSeed],
        every: usize,
        states: &mut Vec<Vec<f32>>,
        progress: impl FnMut(usize) -> bool,
    ) -> Result<Option<Vec<f32>>> {
        self.begin(images)?;
        self.prior.run_async().await?;
        self.finish(images.len(), progress, Keep::Every(every.max(1), states)).await
    }

    /// [`Sampler::run_keeping_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Sampler::run_keeping_async`].
    pub fn run_keeping(
        &mut self,
        images: &[ImageSeed],
        every: usize,
        states: &mut Vec<Vec<f32>>,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<Vec<f32>>> {
        blocking(self.run_keeping_async(images, every, states, progress))
    }

    fn begin(&mut self, images: &[ImageSeed]) -> Result<()> {
        let n = self.shape[0];
        if images.is_empty() || images.len() > n {
            let problem = format!("the plan is for batches of 1 to {n}");
            return Err(Error::invalid("images", images.len(), problem));
        }
        let padded = || (0..n).map(|i| images[i.min(images.len() - 1)]);
        let seeds: Vec<u32> = padded().flat_map(|i| [i.seed as u32, (i.seed >> 32) as u32]).collect();
        let numbers: Vec<u32> = padded().map(|i| i.image).collect();
        let Values { source, prior_source, table, .. } = self.values;
        for (plan, source) in [(&self.step, source), (&self.prior, prior_source)] {
            // A solver without noise has no use for seeds.
            if plan.uses(source.seed) {
                plan.write_u32(source.seed, &seeds)?;
                plan.write_u32(source.images, &numbers)?;
            }
        }
        // Only a Langevin corrector has norms.
        if let Some(counted) = self.counted.filter(|counted| self.step.uses(*counted)) {
            let counts: Vec<f32> = (0..n).map(|i| f32::from(u8::from(i < images.len()))).collect();
            self.step.write(counted, &counts)?;
        }
        self.step.write_u32(table.counter, &[0])
    }

    /// The steps, and the result of the last one.
    async fn finish(
        &mut self,
        images: usize,
        mut progress: impl FnMut(usize) -> bool,
        mut keep: Keep<'_>,
    ) -> Result<Option<Vec<f32>>> {
        let unpadded = |mut batch: Vec<f32>, n: usize| {
            batch.truncate(batch.len() / n * images);
            batch
        };
        for done in 1..=self.rows {
            if !progress(done - 1) {
                return Ok(None);
            }
            self.step.run_async().await?;
            if let Keep::Every(every, states) = &mut keep
                && (done % *every == 0 || done == self.rows)
            {
                let state = self.step.read_async(self.values.x).await?;
                states.push(unpadded(state, self.shape[0]));
            }
        }
        let result = self.step.read_async(self.values.result).await?;
        progress(self.rows);
        let result = unpadded(result, self.shape[0]);
        if result.iter().any(|v| !v.is_finite()) {
            return Err(Error::NonFinite { tensor: "the sample".into(), step: self.rows as u64 });
        }
        Ok(Some(result))
    }
}
