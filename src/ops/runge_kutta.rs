//! The vector operations of an embedded Runge-Kutta step, with coefficients from a table.
//!
//! The controller is f64 on the CPU (`sampling::runge_kutta`); state and slopes stay on the device in f32. The slopes of a step are one
//! stack, `slopes × state`: as many as the stages of the method and one at the end of the step.

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::Capabilities;
use crate::graph::{Candidate, Graph, Io, Op, Operand, Value};

use super::lookup::{Table, by_table};

const NAME: &str = "runge_kutta";

/// The number of slopes in a stack for the state `y`. Fails where there are fewer than two, or their shape is another.
fn count(graph: &Graph, y: Value, slopes: Value) -> Result<usize> {
    let (shape, stack) = (graph.shape(y), graph.shape(slopes));
    let count = stack[0];
    if count < 2 || stack.elements() != count * shape.elements() {
        let problem = format!("slopes of {stack} for a state of {shape}");
        return Err(Error::shape(NAME, problem, "give at least two slopes of the state's shape"));
    }
    Ok(count)
}

/// Fails where two states differ in shape.
fn check_same(graph: &Graph, y: Value, other: Value) -> Result<()> {
    if graph.shape(y) == graph.shape(other) {
        return Ok(());
    }
    let problem = format!("{} against {}", graph.shape(y), graph.shape(other));
    Err(Error::shape(NAME, problem, "give states of one shape"))
}

/// The state at which a stage asks for its slope: `y + Σ c_j·slope_j`, with a column for each c from `first` on.
///
/// # Errors
/// [`Error::Shape`] when the slopes are not a stack of states, or the table has too few columns.
pub fn stage(graph: &mut Graph, table: Table, y: Value, slopes: Value, first: usize) -> Result<Value> {
    let count = count(graph, y, slopes)?;
    let shape = graph.shape(y).clone();
    table.check(graph, NAME, first + count - 1, shape[0])?;
    let op = Stage { per_step: table.per_step, first, count };
    Ok(graph.push1(op, &[y, slopes, table.rows, table.counter], shape))
}

/// Writes `slope` into the stack of slopes at the index that `column` holds.
///
/// # Errors
/// As [`stage`].
pub fn store(graph: &mut Graph, table: Table, slopes: Value, slope: Value, column: usize) -> Result<()> {
    let count = count(graph, slope, slopes)?;
    table.check(graph, NAME, column, graph.shape(slope)[0])?;
    let op = Store { per_step: table.per_step, column, count };
    graph.push(op, &[slopes, slope, table.rows, table.counter], &[]);
    Ok(())
}

/// `(c_y·y + Σ c_j·slope_j) / (atol + rtol·max(|y|, |other|))`, element by element; columns from `first` on: a c for each slope, c_y,
/// rtol, atol. What error norms and the norms of the first step size are made of.
///
/// # Errors
/// As [`stage`]; when the two states differ in shape.
pub fn ratio(
    graph: &mut Graph,
    table: Table,
    y: Value,
    other: Value,
    slopes: Value,
    first: usize,
) -> Result<Value> {
    let count = count(graph, y, slopes)?;
    check_same(graph, y, other)?;
    let shape = graph.shape(y).clone();
    table.check(graph, NAME, first + count + 2, shape[0])?;
    let op = Ratio { per_step: table.per_step, first, count };
    Ok(graph.push1(op, &[y, other, slopes, table.rows, table.counter], shape))
}

/// The end of a step that met the tolerance: `y = tried`, and the last slope becomes the first, for the images whose number in
/// `column` is not 0.
///
/// # Errors
/// As [`ratio`].
pub fn accept(
    graph: &mut Graph,
    table: Table,
    y: Value,
    tried: Value,
    slopes: Value,
    column: usize,
) -> Result<()> {
    let count = count(graph, y, slopes)?;
    check_same(graph, y, tried)?;
    table.check(graph, NAME, column, graph.shape(y)[0])?;
    let op = Accept { per_step: table.per_step, column, count };
    graph.push(op, &[y, slopes, tried, table.rows, table.counter], &[]);
    Ok(())
}

/// A launch over a state of `elements`, which writes `to`; its coefficients are the columns of the table from `column` on.
fn candidate(
    shader: &'static str,
    io: &Io,
    per_step: usize,
    elements: usize,
    [column, slopes]: [usize; 2],
    to: &[Operand],
) -> Candidate {
    let launch = by_table(shader, io, per_step, elements, to).constant("SLOPES", slopes);
    Candidate::plain(vec![
        launch.params(fields! { column }).flops(2.0 * (slopes + 1) as f64 * elements as f64),
    ])
}

#[derive(Debug)]
struct Stage {
    per_step: usize,
    first: usize,
    count: usize,
}

impl Op for Stage {
    fn name(&self) -> &'static str {
        NAME
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let elements = io.output(0).elements();
        let to = [Operand::Output(0)];
        vec![candidate("runge_kutta/stage.wgsl", io, self.per_step, elements, [self.first, self.count], &to)]
    }
}

#[derive(Debug)]
struct Store {
    per_step: usize,
    column: usize,
    count: usize,
}

impl Op for Store {
    fn name(&self) -> &'static str {
        NAME
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let elements = io.input(1).elements();
        let to = [Operand::Input(0)];
        vec![candidate("runge_kutta/store.wgsl", io, self.per_step, elements, [self.column, self.count], &to)]
    }

    fn mutates(&self) -> &[usize] {
        &[0]
    }
}

#[derive(Debug)]
struct Ratio {
    per_step: usize,
    first: usize,
    count: usize,
}

impl Op for Ratio {
    fn name(&self) -> &'static str {
        NAME
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let elements = io.output(0).elements();
        let to = [Operand::Output(0)];
        vec![candidate("runge_kutta/ratio.wgsl", io, self.per_step, elements, [self.first, self.count], &to)]
    }
}

#[derive(Debug)]
struct Accept {
    per_step: usize,
    column: usize,
    count: usize,
}

impl Op for Accept {
    fn name(&self) -> &'static str {
        NAME
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let elements = io.input(0).elements();
        let to = [Operand::Input(0), Operand::Input(1)];
        vec![candidate(
            "runge_kutta/accept.wgsl",
            io,
            self.per_step,
            elements,
            [self.column, self.count],
            &to,
        )]
    }

    fn mutates(&self) -> &[usize] {
        &[0, 1]
    }
}
