//! Few-step solvers and diffusers' schedulers: one evaluation and one linear update a row, replayed as one plan.

use super::draws::Draws;
use super::few_step::SolverTable;
use crate::error::Result;
use crate::graph::{DType, Graph, Shape, Value};
use crate::ops::elementwise::assign;
use crate::ops::lookup::{Table, advance};
use crate::ops::philox::Purpose;
use crate::ops::sampler_step::{SolverColumns, solver};
use crate::score::{At, ScoreFn};
use crate::sde::Conditioning;

/// Columns behind [`At::COLUMNS`].
const COEFFICIENTS: SolverColumns = SolverColumns { first: At::COLUMNS, noise: At::COLUMNS + 6 };
const COLUMNS: usize = At::COLUMNS + 7;

/// A traced row and the values to write before a run and to read after it.
#[derive(Clone, Copy, Debug)]
pub struct SolverStep {
    /// The state: the starting point before the first row, x after each.
    pub x: Value,
    /// k of the row before: the prediction of x_0 for a diffusers scheduler, DDIM and DPM-Solver++, clamped where the table clamps.
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
        let before = graph.state("k", shape.clone(), DType::F32);
        let output = score.score(graph, x, At { table, n: shape[0] })?;
        let z = match rows.rows.iter().any(|r| r.draws) {
            true => Some(draws.normal(graph, Purpose::PREDICTOR, shape)?),
            false => None,
        };
        let clip = rows.clip.map(|c| c as f32);
        let (y, k) = solver(graph, table, [x, output, before], z, COEFFICIENTS, clip)?;
        assign(graph, x, y)?;
        assign(graph, before, k)?;
        advance(graph, table.counter)?;
        Ok(Self { x, kept: before, table })
    }

    /// The contents of the table.
    pub fn table_data(table: &SolverTable) -> Vec<f32> {
        let mut data = Vec::with_capacity(table.rows.len() * COLUMNS);
        for r in &table.rows {
            let asked =
                Conditioning { argument: r.argument, score_scale: r.output_scale, x_scale: r.x_scale };
            let behind = [r.kept_x, r.kept_output, r.x, r.output, r.kept, r.kept_before, r.noise];
            data.extend(At::row(asked, r.std).iter().chain(&behind).map(|&v| v as f32));
        }
        data
    }
}
