//! Few-step solvers and diffusers' schedulers: one evaluation and one linear update a row, replayed as one plan.

use super::draws::Draws;
use super::few_step::{SLOTS, SolverTable};
use crate::error::Result;
use crate::graph::{DType, Graph, Shape, Value};
use crate::ops::elementwise::assign;
use crate::ops::lookup::{Table, advance};
use crate::ops::philox::Purpose;
use crate::ops::sampler_step::{SolverColumns, solver};
use crate::score::{At, ScoreFn};
use crate::sde::Conditioning;

/// Columns behind [`At::COLUMNS`].
const COEFFICIENTS: SolverColumns =
    SolverColumns { first: At::COLUMNS, noise: At::COLUMNS + 5, slots: At::COLUMNS + 6 };
/// Of a table whatever its slots are.
const COLUMNS: usize = At::COLUMNS + 8 + SLOTS;

/// A traced row and the values to write before a run and to read after it.
#[derive(Clone, Copy, Debug)]
pub struct SolverStep {
    /// The state: the starting point before the first row, x after each.
    pub x: Value,
    /// What the slots hold, `slots n h w c`. For DDPM, DDIM and DPM-Solver++(2M) there is one, with the prediction of x_0 of the row before,
    /// clamped where the table clamps.
    pub kept: Value,
    /// Coefficients; fill with [`SolverStep::table_data`], and the counter with 0.
    pub table: Table,
}

impl SolverStep {
    /// The table and its counter, which the source of noise needs before the step is traced.
    pub fn table(graph: &mut Graph, rows: usize) -> Table {
        Table::new(graph, "coefficients", rows, COLUMNS)
    }

    /// Appends one row for a state of `shape` (`n h w c`).
    ///
    /// # Errors
    /// Whatever the score's ops say of their shapes.
    pub fn trace(
        graph: &mut Graph,
        score: &dyn ScoreFn,
        rows: &SolverTable,
        table: Table,
        shape: &Shape,
        mut draws: Draws,
    ) -> Result<Self> {
        let x = graph.state("x", shape.clone(), DType::F32);
        let stack: Vec<usize> = [rows.slots.max(1)].iter().chain(shape.dims()).copied().collect();
        let slots = graph.state("slots", stack, DType::F32);
        let output = score.score(graph, x, At { table, n: shape[0] })?;
        let z = match rows.rows.iter().any(|r| r.draws) {
            true => Some(draws.normal(graph, Purpose::PREDICTOR, shape)?),
            false => None,
        };
        let clip = rows.clip.map(|c| c as f32);
        let y = solver(graph, table, [x, output], slots, z, COEFFICIENTS, clip)?;
        assign(graph, x, y)?;
        advance(graph, table.counter)?;
        Ok(Self { x, kept: slots, table })
    }

    /// The contents of the table.
    pub fn table_data(table: &SolverTable) -> Vec<f32> {
        let mut data = Vec::with_capacity(table.rows.len() * COLUMNS);
        for r in &table.rows {
            let asked =
                Conditioning { argument: r.argument, score_scale: r.output_scale, x_scale: r.x_scale };
            // A slot that a table does not have takes nothing.
            let slot = |slot: Option<usize>| slot.unwrap_or(SLOTS) as f64;
            let behind = [r.kept_x, r.kept_output, r.x, r.output, r.kept, r.noise];
            let keeps = [slot(r.keep_in), slot(r.keep_x_in)];
            let all = At::row(asked, r.std).into_iter().chain(behind).chain(keeps).chain(r.before);
            data.extend(all.map(|v| v as f32));
        }
        data
    }
}
