//! Predictor-corrector sampling: a whole step (scores, noise, norms, step size, updates) is one replayed plan.
//!
//! The coefficients of all steps are one table on the device and a counter picks the row, so nothing is read back
//! between the first step and the last.

use super::coefficients::{CorrectorStep, PcTable};
use super::draws::Draws;
use crate::error::Result;
use crate::graph::{DType, Graph, Shape, Value};
use crate::ops::elementwise::{assign, mul};
use crate::ops::lookup::{Table, advance, column};
use crate::ops::philox::Purpose;
use crate::ops::reduce::sum_squares_images;
use crate::ops::sampler_step::{Norm, langevin, linear};
use crate::score::{At, ScoreFn};
use crate::sde::Conditioning;

/// Columns behind [`At::COLUMNS`]: the predictor's factors of x, score and z; the corrector's factor (or squared-ratio factor),
/// its factor of z, and 1; the factor of the mean of p(x_t | x_0).
const PREDICTOR: [usize; 3] = [At::COLUMNS, At::COLUMNS + 1, At::COLUMNS + 2];
const CORRECTOR: [usize; 3] = [At::COLUMNS + 5, At::COLUMNS + 3, At::COLUMNS + 4];
const MEAN: usize = At::COLUMNS + 6;
const COLUMNS: usize = At::COLUMNS + 7;

/// What is imposed on the state after every update: the known part of an inverse problem.
pub trait Constraint: std::fmt::Debug {
    /// Replaces (x, x_mean) after an update. `mean` and `std` are those of p(x_t | x_0), one number per image.
    fn impose(
        &self,
        graph: &mut Graph,
        state: (Value, Value),
        mean: Value,
        std: Value,
        draws: &mut Draws,
    ) -> Result<(Value, Value)>;

    /// Draws that one imposition takes.
    fn draws(&self) -> usize;
}

/// A constraint, and what it has put into the graph for the host to write before a run.
#[derive(Debug)]
pub struct Imposed {
    /// The constraint.
    pub constraint: Box<dyn Constraint>,
    /// Its inputs.
    pub inputs: Vec<Value>,
}

/// What makes a constraint in the graph of a sampler.
pub trait Constrain: std::fmt::Debug {
    /// Appends what the constraint needs for a state of `shape` (`n h w c`).
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when it is not for such states.
    fn constrain(&self, graph: &mut Graph, shape: &Shape) -> Result<Imposed>;
}

/// What a step is made of, besides its source of noise.
#[derive(Clone, Copy, Debug)]
pub struct PcSetting<'a> {
    /// The score.
    pub score: &'a dyn ScoreFn,
    /// The coefficients of all steps.
    pub pc: &'a PcTable,
    /// How the norms of a Langevin step are taken.
    pub norm: Norm,
    /// For [`Norm::Batch`]: 1 for each image that counts in the norms, 0 for one that only fills a smaller batch (`n`). None: all count.
    pub counted: Option<Value>,
    /// What is imposed after every update.
    pub constraint: Option<&'a dyn Constraint>,
}

/// A traced step and the values to write before a run and to read after it.
#[derive(Clone, Debug)]
pub struct PcStep {
    /// The state: the starting point before the first step, x after each.
    pub x: Value,
    /// x_mean after each step.
    pub mean: Value,
    /// Coefficients; fill with [`PcStep::table_data`], and the counter with 0.
    pub table: Table,
    /// x after the corrector's last step, if there is one: for traces and tests.
    pub corrected: Option<Value>,
    /// The state that entered the predictor, constraint included.
    pub predictor_input: Value,
    /// (x, x_mean) of the predictor before any constraint.
    pub predicted: (Value, Value),
}

/// Draws of one step, for a record.
pub fn draws_per_step(table: &PcTable, constraint: Option<&dyn Constraint>) -> usize {
    let extra = constraint.map_or(0, Constraint::draws);
    let corrector = table.corrector_steps + extra;
    let predictor = usize::from(table.predictor_draws) + extra;
    corrector + predictor
}

impl PcStep {
    /// The table and its counter, which the source of noise needs before the step is traced.
    pub fn table(graph: &mut Graph, rows: usize) -> Table {
        Table::new(graph, "coefficients", rows, COLUMNS)
    }

    /// Appends one step for a state of `shape` (`n h w c`).
    ///
    /// # Errors
    /// Whatever the score's ops say of their shapes.
    pub fn trace(
        graph: &mut Graph,
        setting: PcSetting<'_>,
        table: Table,
        shape: &Shape,
        mut draws: Draws,
    ) -> Result<Self> {
        let PcSetting { score, pc, norm, counted, constraint } = setting;
        let at = At { table, n: shape[0] };
        let x = graph.state("x", shape.clone(), DType::F32);
        let mean = graph.state("x_mean", shape.clone(), DType::F32);
        let kind = pc.rows.first().map_or(CorrectorStep::None, |r| r.corrector);
        let mut state = (x, x);
        let impose = |graph: &mut Graph, state, draws: &mut Draws| -> Result<(Value, Value)> {
            let Some(constraint) = constraint else { return Ok(state) };
            let factor = column(graph, table, MEAN, shape[0])?;
            let std = at.std(graph)?;
            constraint.impose(graph, state, factor, std, draws)
        };
        let mut corrected = None;
        for inner in 0..pc.corrector_steps {
            let now = state.0;
            let s = graph.scoped("corrector", |g| score.score(g, now, at))?;
            let z = draws.normal(graph, Purpose::CORRECTOR.at(inner), shape)?;
            state = match kind {
                CorrectorStep::NormRatio { .. } => {
                    let mut squares = [sum_squares_images(graph, s)?, sum_squares_images(graph, z)?];
                    if let (Norm::Batch, Some(counted)) = (norm, counted) {
                        // A norm of zero adds nothing to either mean, whose quotient alone counts.
                        squares = [mul(graph, squares[0], counted)?, mul(graph, squares[1], counted)?];
                    }
                    langevin(graph, table, [now, s, z], squares, CORRECTOR[1], norm)?
                }
                _ => linear(graph, table, now, s, Some(z), CORRECTOR)?,
            };
            corrected = Some(state.0);
        }
        state = impose(graph, state, &mut draws)?;
        let predictor_input = state.0;
        if pc.predictor_steps > 0 {
            let s = graph.scoped("predictor", |g| score.score(g, predictor_input, at))?;
            let z = draws.normal(graph, Purpose::PREDICTOR, shape)?;
            state = linear(graph, table, predictor_input, s, Some(z), PREDICTOR)?;
        } else {
            state = (state.0, state.0);
        }
        let predicted = state;
        state = impose(graph, state, &mut draws)?;
        assign(graph, x, state.0)?;
        assign(graph, mean, state.1)?;
        advance(graph, table.counter)?;
        Ok(Self { x, mean, table, corrected, predictor_input, predicted })
    }

    /// The contents of the table.
    pub fn table_data(pc: &PcTable) -> Vec<f32> {
        let mut data = Vec::with_capacity(pc.rows.len() * COLUMNS);
        for row in &pc.rows {
            let conditioning =
                Conditioning { argument: row.argument, score_scale: row.score_scale, x_scale: row.x_scale };
            let (step, noise) = match row.corrector {
                CorrectorStep::None => (0.0, 0.0),
                CorrectorStep::Fixed { step } => (step, (2.0 * step).sqrt()),
                CorrectorStep::NormRatio { scale } => (scale, 0.0),
            };
            let p = row.predictor;
            let behind = [p.x, p.score, p.noise, step, noise, 1.0, row.marginal.mean];
            data.extend(At::row(conditioning, row.marginal.std).iter().chain(&behind).map(|&v| v as f32));
        }
        data
    }
}
