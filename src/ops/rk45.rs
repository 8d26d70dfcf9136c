//! The vector operations of a Runge-Kutta step with seven slopes (Dormand and Prince 1980), with coefficients from a table.
//!
//! The controller is f64 on the CPU (`sampling::rk45`); state and slopes stay on the device in f32. Slopes are one stack, `7 × state`.

use crate::error::{Error, Result};
use crate::gpu::Capabilities;
use crate::graph::{Candidate, Graph, Io, Launch, Op, Operand, Value};

use super::lookup::Table;
use super::{flat_groups, lanes};

const STEM: &str = "rk45";

/// Slopes of a step: six stages and the one at its end.
pub const SLOPES: usize = 7;

fn check(graph: &Graph, table: Table, last_column: usize, y: Value, slopes: Value) -> Result<()> {
    let (shape, stack) = (graph.shape(y), graph.shape(slopes));
    if stack.elements() != SLOPES * shape.elements() {
        let problem = format!("slopes of {stack} for a state of {shape}");
        return Err(Error::shape(STEM, problem, "give seven slopes of the state's shape"));
    }
    let rows = graph.shape(table.rows);
    if rows.rank() != 2 || last_column >= rows[1] {
        return Err(Error::shape(
            STEM,
            format!("column {last_column} of a table {rows}"),
            "give a column it has",
        ));
    }
    Ok(())
}

/// The state at which a stage asks for its slope: `y + Σ c_j·slope_j`, c in seven columns from `first` on.
///
/// # Errors
/// [`Error::Shape`] when the slopes are not seven times the state.
pub fn stage(graph: &mut Graph, table: Table, y: Value, slopes: Value, first: usize) -> Result<Value> {
    check(graph, table, first + SLOPES - 1, y, slopes)?;
    let shape = graph.shape(y).clone();
    Ok(graph.push1(Stage { first }, &[y, slopes, table.rows, table.counter], shape))
}

/// Writes `slope` into the stack of slopes at the index that `column` holds.
///
/// # Errors
/// [`Error::Shape`] when the slopes are not seven times the slope.
pub fn store(graph: &mut Graph, table: Table, slopes: Value, slope: Value, column: usize) -> Result<()> {
    check(graph, table, column, slope, slopes)?;
    graph.push(Store { column }, &[slopes, slope, table.rows, table.counter], &[]);
    Ok(())
}

/// `(c_y·y + Σ c_j·slope_j) / (atol + rtol·max(|y|, |other|))`, element by element; ten columns from `first` on: seven c_j, c_y, rtol,
/// atol. What error norms and the norms of the first step size are made of.
///
/// # Errors
/// [`Error::Shape`] when shapes do not fit.
pub fn ratio(
    graph: &mut Graph,
    table: Table,
    y: Value,
    other: Value,
    slopes: Value,
    first: usize,
) -> Result<Value> {
    check(graph, table, first + SLOPES + 2, y, slopes)?;
    if graph.shape(y) != graph.shape(other) {
        let problem = format!("{} against {}", graph.shape(y), graph.shape(other));
        return Err(Error::shape(STEM, problem, "give states of one shape"));
    }
    let shape = graph.shape(y).clone();
    Ok(graph.push1(Ratio { first }, &[y, other, slopes, table.rows, table.counter], shape))
}

/// Binds the inputs and one result and gives count, rows, columns and the first column.
fn launch(shader: &'static str, io: &Io, elements: usize, first: usize, to: Operand) -> Launch {
    let v = lanes(elements);
    let table = io.input(io.inputs.len() - 2);
    let begin = usize::from(to == Operand::Input(0));
    let mut launch = Launch::new(shader).constant("V", v);
    for i in begin..io.inputs.len() {
        launch = launch.read(Operand::Input(i));
    }
    launch
        .write(to)
        .word(elements / v)
        .word(table[0])
        .word(table[1])
        .word(first)
        .grid(flat_groups(elements, v), 1, 1)
        .flops(16.0 * elements as f64)
}

#[derive(Debug)]
struct Stage {
    first: usize,
}

impl Op for Stage {
    fn stem(&self) -> &'static str {
        STEM
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let elements = io.output(0).elements();
        vec![Candidate::plain(vec![launch("rk45/stage.wgsl", io, elements, self.first, Operand::Output(0))])]
    }
}

#[derive(Debug)]
struct Store {
    column: usize,
}

impl Op for Store {
    fn stem(&self) -> &'static str {
        STEM
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let elements = io.input(1).elements();
        vec![Candidate::plain(vec![launch("rk45/store.wgsl", io, elements, self.column, Operand::Input(0))])]
    }

    fn mutates(&self) -> &[usize] {
        &[0]
    }
}

#[derive(Debug)]
struct Ratio {
    first: usize,
}

impl Op for Ratio {
    fn stem(&self) -> &'static str {
        STEM
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let elements = io.output(0).elements();
        vec![Candidate::plain(vec![launch("rk45/ratio.wgsl", io, elements, self.first, Operand::Output(0))])]
    }
}
