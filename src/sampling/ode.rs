//! The probability-flow ODE on the device: state and slopes in f32 there, the controller in f64 here, one small read a step.
//!
//! One plan computes a stage (state of the stage, score, slope) and is replayed once per stage with a row of coefficients each;
//! a second one turns slopes into error norms. Each image has rows of its own, so that images may take steps of their own
//! ([`Norm::Image`]) or one step for all ([`Norm::Batch`], as in the authors' code). With a probe the divergence of the drift is integrated along with the state
//! (Skilling and Hutchinson's trace estimate, section 4.3 of Song et al. 2021).

mod state;

use std::sync::Arc;

use super::coefficients::PcRow;
use super::runge_kutta::Step;
use super::solvers::ode::RK45;
use crate::error::{Error, Result};
use crate::gpu::{Gpu, blocking};
use crate::graph::{
    Choice, DType, Draft, DraftOptions, Drafts, Graph, Memory, Plan, Resources, Shape, Value,
};
use crate::ops::elementwise::assign;
use crate::ops::lookup::{Table, advance};
use crate::ops::reduce::{dot_images, sum_squares_images};
use crate::ops::runge_kutta::{accept, ratio, stage, store};
use crate::ops::sampler_step::{Norm, linear};
use crate::score::{At, ScoreFn};
use crate::sde::{Sde, TimeConditioning};

/// Columns of a stage: times, the index of the new slope, the drift's factors of x and score, the factors of the slopes.
const INDEX: usize = At::COLUMNS;
const DRIFT: usize = INDEX + 1;
const FACTORS: usize = DRIFT + 2;
/// Slopes that [`OdeDraft::new`] leaves room for.
const SLOPES: usize = RK45.slopes();

/// The columns of a stage, and of a norm: factors of the slopes, factor of y, rtol, atol.
fn columns(slopes: usize) -> [usize; 2] {
    [FACTORS + slopes, slopes + 3]
}

/// A tensor that is integrated: the state, or the change of log-density of each image.
#[derive(Clone, Copy, Debug)]
struct Integrated {
    now: Value,
    new: Value,
    slopes: Value,
}

impl Integrated {
    fn new(graph: &mut Graph, name: &str, shape: &Shape, slopes: usize) -> Self {
        let stack: Vec<usize> = [slopes].iter().chain(shape.dims()).copied().collect();
        Self {
            now: graph.state(name, shape.clone(), DType::F32),
            new: graph.state(&format!("new {name}"), shape.clone(), DType::F32),
            slopes: graph.state(&format!("slopes of {name}"), stack, DType::F32),
        }
    }
}

/// A graph of its own over the memory of the stages' states.
#[derive(Debug)]
struct Side {
    draft: Draft,
    table: Table,
    states: Vec<Integrated>,
    /// Sums of squares per image for each state.
    sums: Vec<Value>,
}

/// The ODE on paper.
#[derive(Debug)]
pub struct OdeDraft {
    stages: Draft,
    table: Table,
    states: Vec<Integrated>,
    probe: Option<Value>,
    start: Side,
    error: Side,
    accept: Side,
    shape: Shape,
    slopes: usize,
}

/// The ODE on a device, as [`solve`](super::runge_kutta::solve) takes it.
#[derive(Debug)]
pub struct Ode {
    sde: Arc<dyn Sde>,
    time: TimeConditioning,
    stages: Plan,
    table: Table,
    states: Vec<Integrated>,
    probe: Option<Value>,
    start: (Plan, Table, Vec<Value>),
    error: (Plan, Table, Vec<Value>),
    accept: (Plan, Table),
    shape: Shape,
    slopes: usize,
    norm: Norm,
}

impl Drafts for OdeDraft {
    fn map_drafts(mut self, mut map: impl FnMut(&Draft) -> Result<Draft>) -> Result<Self> {
        for draft in [&mut self.stages, &mut self.start.draft, &mut self.error.draft, &mut self.accept.draft]
        {
            *draft = map(draft)?;
        }
        Ok(self)
    }
}

impl OdeDraft {
    /// Traces the ODE for a state of `shape` (`n h w c`), with a probe for the divergence where `likelihood` is asked for. It can be
    /// solved by any method with no more slopes than RK45 has.
    ///
    /// # Errors
    /// [`Error::Shape`] from the model, [`Error::Limit`] when a tensor does not fit the device.
    pub fn new(
        gpu: &Gpu,
        score: &dyn ScoreFn,
        shape: impl Into<Shape>,
        likelihood: bool,
        choice: Choice,
    ) -> Result<Self> {
        Self::with_slopes(gpu, score, shape, likelihood, choice, SLOPES)
    }

    /// The same with room for `slopes` (at least 2) of a method that has more than RK45.
    ///
    /// # Errors
    /// As [`OdeDraft::new`].
    pub fn with_slopes(
        gpu: &Gpu,
        score: &dyn ScoreFn,
        shape: impl Into<Shape>,
        likelihood: bool,
        choice: Choice,
        slopes: usize,
    ) -> Result<Self> {
        let shape = shape.into();
        let n = shape[0];
        let [stage_columns, norm_columns] = columns(slopes);
        let mut graph = Graph::new();
        let table = Table::of_images(&mut graph, "stages", slopes - 1, n, stage_columns);
        let y = Integrated::new(&mut graph, "x", &shape, slopes);
        let x = stage(&mut graph, table, y.now, y.slopes, FACTORS)?;
        let s = score.score(&mut graph, x, At { table, n })?;
        let (slope, _) = linear(&mut graph, table, x, s, None, [DRIFT, DRIFT + 1, DRIFT])?;
        store(&mut graph, table, y.slopes, slope, INDEX)?;
        assign(&mut graph, y.new, x)?;
        let mut states = vec![y];
        let mut probe = None;
        if likelihood {
            let eps = graph.input("probe", shape.clone());
            let grads = graph.backward(&[(s, eps)], &[x])?;
            let squares = sum_squares_images(&mut graph, eps)?;
            let divergence = match grads[0] {
                Some(vjp) => {
                    let product = dot_images(&mut graph, vjp, eps, 1.0)?;
                    linear(&mut graph, table, squares, product, None, [DRIFT, DRIFT + 1, DRIFT])?.0
                }
                // A score that does not depend on x leaves the drift's own factor.
                None => {
                    let zero = graph.constant("no divergence", [n], &vec![0.0; n]);
                    linear(&mut graph, table, squares, zero, None, [DRIFT, DRIFT + 1, DRIFT])?.0
                }
            };
            let logp = Integrated::new(&mut graph, "change of log-density", &[n].into(), slopes);
            let value = stage(&mut graph, table, logp.now, logp.slopes, FACTORS)?;
            store(&mut graph, table, logp.slopes, divergence, INDEX)?;
            assign(&mut graph, logp.new, value)?;
            states.push(logp);
            probe = Some(eps);
        }
        advance(&mut graph, table.counter)?;
        let shapes: Vec<Shape> = states.iter().map(|s| graph.shape(s.now).clone()).collect();
        let device = gpu.capabilities();
        let options = DraftOptions { choice, ..DraftOptions::default() };
        let side = |against_new: bool| -> Result<Side> {
            let (mut g, table, states) = side_graph(&shapes, norm_columns, slopes);
            let mut sums = Vec::new();
            for s in &states {
                let other = if against_new { s.new } else { s.now };
                let r = ratio(&mut g, table, s.now, other, s.slopes, 0)?;
                sums.push(sum_squares_images(&mut g, r)?);
            }
            Ok(Side { draft: Draft::new(&g, &sums, device, options.clone())?, table, states, sums })
        };
        let accept = {
            let (mut g, table, states) = side_graph(&shapes, 1, slopes);
            for s in &states {
                accept(&mut g, table, s.now, s.new, s.slopes, 0)?;
            }
            Side { draft: Draft::new(&g, &[], device, options.clone())?, table, states, sums: Vec::new() }
        };
        let kept: Vec<Value> = states.iter().flat_map(|s| [s.now, s.new, s.slopes]).collect();
        Ok(Self {
            stages: Draft::new(&graph, &kept, device, options.clone())?,
            table,
            states,
            probe,
            start: side(false)?,
            error: side(true)?,
            accept,
            shape,
            slopes,
        })
    }

    /// What the ODE will take.
    pub fn memory(&self) -> Memory {
        self.stages.memory()
    }

    /// Allocates and compiles; `resources` holds the weights.
    ///
    /// # Errors
    /// What [`Draft::build_async`] says.
    pub async fn build_async(
        &self,
        gpu: &Gpu,
        resources: Resources,
        sde: &Arc<dyn Sde>,
        time: TimeConditioning,
    ) -> Result<Ode> {
        let stages = self.stages.build_async(gpu, resources).await?;
        let side = async |side: &Side| -> Result<Plan> {
            let mut shared = Resources::new();
            for (own, main) in side.states.iter().zip(&self.states) {
                shared = shared
                    .bind(own.now, stages.binding(main.now)?)
                    .bind(own.new, stages.binding(main.new)?)
                    .bind(own.slopes, stages.binding(main.slopes)?);
            }
            side.draft.build_async(gpu, shared).await
        };
        Ok(Ode {
            sde: Arc::clone(sde),
            time,
            start: (side(&self.start).await?, self.start.table, self.start.sums.clone()),
            error: (side(&self.error).await?, self.error.table, self.error.sums.clone()),
            accept: (side(&self.accept).await?, self.accept.table),
            stages,
            table: self.table,
            states: self.states.clone(),
            probe: self.probe,
            shape: self.shape.clone(),
            slopes: self.slopes,
            norm: Norm::default(),
        })
    }

    /// [`OdeDraft::build_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`OdeDraft::build_async`].
    pub fn build(
        &self,
        gpu: &Gpu,
        resources: Resources,
        sde: &Arc<dyn Sde>,
        time: TimeConditioning,
    ) -> Result<Ode> {
        blocking(self.build_async(gpu, resources, sde, time))
    }
}

fn side_graph(shapes: &[Shape], columns: usize, slopes: usize) -> (Graph, Table, Vec<Integrated>) {
    let mut graph = Graph::new();
    let table = Table::of_images(&mut graph, "norms", 1, shapes[0][0], columns);
    let states = shapes.iter().map(|shape| Integrated::new(&mut graph, "x", shape, slopes)).collect();
    (graph, table, states)
}

impl Ode {
    /// Shape of the state, `n h w c`.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The SDE whose flow this is.
    pub fn sde(&self) -> &Arc<dyn Sde> {
        &self.sde
    }

    /// What the network is told about time.
    pub fn time(&self) -> TimeConditioning {
        self.time
    }

    /// Whether each image takes steps of its own, which it does unless told otherwise, or one step is right for the batch.
    pub fn set_norm(&mut self, norm: Norm) {
        self.norm = norm;
    }

    /// Sets the state; the change of log-density begins at 0.
    ///
    /// # Errors
    /// [`Error::Shape`] when `x` has another number of elements.
    pub fn set(&mut self, x: &[f32]) -> Result<()> {
        self.stages.write(self.states[0].now, x)?;
        if let Some(logp) = self.states.get(1) {
            self.stages.write(logp.now, &vec![0.0; self.shape[0]])?;
        }
        Ok(())
    }

    /// Sets the probe of the trace estimate.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the ODE was drafted without one.
    pub fn set_probe(&mut self, eps: &[f32]) -> Result<()> {
        match self.probe {
            Some(probe) => self.stages.write(probe, eps),
            None => Err(Error::invalid("probe", "given", "this ODE was drafted without likelihood")),
        }
    }

    /// The state.
    ///
    /// # Errors
    /// What the device reports.
    pub async fn get_async(&self) -> Result<Vec<f32>> {
        self.stages.read_async(self.states[0].now).await
    }

    /// [`Ode::get_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Ode::get_async`].
    pub fn get(&self) -> Result<Vec<f32>> {
        blocking(self.get_async())
    }

    /// The change of log-density of each image, where there is a probe.
    ///
    /// # Errors
    /// What the device reports.
    pub async fn log_density_change_async(&self) -> Result<Option<Vec<f32>>> {
        match self.states.get(1) {
            Some(logp) => self.stages.read_async(logp.now).await.map(Some),
            None => Ok(None),
        }
    }

    /// [`Ode::log_density_change_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Ode::log_density_change_async`].
    pub fn log_density_change(&self) -> Result<Option<Vec<f32>>> {
        blocking(self.log_density_change_async())
    }

    /// The drift at (`t`, the state) and, with a probe, its estimated divergence per image: the first slopes. One evaluation.
    ///
    /// # Errors
    /// What the device reports.
    pub async fn drift_async(&mut self, t: f64) -> Result<(Vec<f32>, Option<Vec<f32>>)> {
        self.run_async(&[vec![self.row(t, 0.0, 0, &[]); self.shape[0]]]).await?;
        let mut slope = self.stages.read_async(self.states[0].slopes).await?;
        slope.truncate(self.shape.elements());
        let Some(logp) = self.states.get(1) else { return Ok((slope, None)) };
        let mut divergence = self.stages.read_async(logp.slopes).await?;
        divergence.truncate(self.shape[0]);
        Ok((slope, Some(divergence)))
    }

    /// [`Ode::drift_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Ode::drift_async`].
    pub fn drift(&mut self, t: f64) -> Result<(Vec<f32>, Option<Vec<f32>>)> {
        blocking(self.drift_async(t))
    }

    /// The state denoised by `row` (of [`ode_denoise`](super::coefficients::ode_denoise)): the mean of one reverse-diffusion step.
    /// One evaluation; the state stays.
    ///
    /// # Errors
    /// What the device reports.
    pub async fn denoise_async(&mut self, row: &PcRow) -> Result<Vec<f32>> {
        // With a drift of 0·x + 1·score the first slope is the score itself.
        let mut stage = self.row(row.t, 0.0, 0, &[]);
        stage[DRIFT] = 0.0;
        stage[DRIFT + 1] = 1.0;
        self.run_async(&[vec![stage; self.shape[0]]]).await?;
        let score = self.stages.read_async(self.states[0].slopes).await?;
        let (a, b) = (row.predictor.x, row.predictor.score);
        let x = self.get_async().await?;
        Ok(x.iter().zip(score).map(|(&x, s)| (a * f64::from(x) + b * f64::from(s)) as f32).collect())
    }

    /// [`Ode::denoise_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Ode::denoise_async`].
    pub fn denoise(&mut self, row: &PcRow) -> Result<Vec<f32>> {
        blocking(self.denoise_async(row))
    }

    /// A row for one image and stage: slope number `index` at time `t`, from the state plus h times the `factors` of the slopes.
    fn row(&self, t: f64, h: f64, index: usize, factors: &[f64]) -> Vec<f32> {
        let asked = self.sde.conditioning(t, self.time);
        let flow = self.sde.reverse(true).sde(t);
        let times = At::row(asked, self.sde.marginal_prob(t).std);
        let values = times.into_iter().chain([index as f64, flow.drift, flow.score]);
        let mut row: Vec<f32> = values.chain(factors.iter().map(|f| f * h)).map(|v| v as f32).collect();
        row.resize(columns(self.slopes)[0], 0.0);
        row
    }

    /// A row for each image, at `c` of its part's step.
    fn rows(&self, steps: &[Step], c: f64, index: usize, factors: &[f64]) -> Vec<Vec<f32>> {
        // Where one step is for all, one row is.
        let rows: Vec<_> = steps.iter().map(|s| self.row(s.t + c * s.h, s.h, index, factors)).collect();
        (0..self.shape[0]).map(|image| rows[image.min(rows.len() - 1)].clone()).collect()
    }

    /// Runs stages, each with a row for each image.
    async fn run_async(&mut self, stages: &[Vec<Vec<f32>>]) -> Result<()> {
        let mut data: Vec<f32> = stages.iter().flatten().flatten().copied().collect();
        data.resize((self.slopes - 1) * self.shape[0] * columns(self.slopes)[0], 0.0);
        self.stages.write(self.table.rows, &data)?;
        self.stages.write_u32(self.table.counter, &[0])?;
        self.stages.replay_async(stages.len()).await
    }
}
