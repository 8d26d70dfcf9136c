//! The vector operations of a Runge-Kutta step with seven slopes (Dormand and Prince 1980), with coefficients from a table.
//!
//! The controller is f64 on the CPU (`sampling::rk45`); state and slopes stay on the device in f32. Slopes are one stack, `7 × state`.

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::Capabilities;
use crate::graph::{Candidate, Graph, Io, Op, Operand, Value};

use super::lookup::{Table, by_table};

const NAME: &str = "rk45";

/// Slopes of a step: six stages and the one at its end.
pub const SLOPES: usize = 7;

fn check(graph: &Graph, table: Table, last_column: usize, y: Value, slopes: Value) -> Result<()> {
    let (shape, stack) = (graph.shape(y), graph.shape(slopes));
    if stack.elements() != SLOPES * shape.elements() {
        let problem = format!("slopes of {stack} for a state of {shape}");
        return Err(Error::shape(NAME, problem, "give seven slopes of the state's shape"));
    }
    table.check(graph, NAME, last_column, shape[0])
}

/// The state at which a stage asks for its slope: `y + Σ c_j·slope_j`, c in seven columns from `first` on.
///
/// # Errors
/// [`Error::Shape`] when the slopes are not seven times the state.
pub fn stage(graph: &mut Graph, table: Table, y: Value, slopes: Value, first: usize) -> Result<Value> {
    check(graph, table, first + SLOPES - 1, y, slopes)?;
    let shape = graph.shape(y).clone();
    Ok(graph.push1(Stage { per_step: table.per_step, first }, &[y, slopes, table.rows, table.counter], shape))
}

/// Writes `slope` into the stack of slopes at the index that `column` holds.
///
/// # Errors
/// [`Error::Shape`] when the slopes are not seven times the slope.
pub fn store(graph: &mut Graph, table: Table, slopes: Value, slope: Value, column: usize) -> Result<()> {
    check(graph, table, column, slope, slopes)?;
    graph.push(Store { per_step: table.per_step, column }, &[slopes, slope, table.rows, table.counter], &[]);
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
        return Err(Error::shape(NAME, problem, "give states of one shape"));
    }
    let shape = graph.shape(y).clone();
    Ok(graph.push1(
        Ratio { per_step: table.per_step, first },
        &[y, other, slopes, table.rows, table.counter],
        shape,
    ))
}

/// The end of a step that met the tolerance: `y = tried`, and the last slope becomes the first, for the images whose number in
/// `column` is not 0.
///
/// # Errors
/// [`Error::Shape`] when shapes do not fit.
pub fn accept(
    graph: &mut Graph,
    table: Table,
    y: Value,
    tried: Value,
    slopes: Value,
    column: usize,
) -> Result<()> {
    check(graph, table, column, y, slopes)?;
    if graph.shape(y) != graph.shape(tried) {
        let problem = format!("{} in place of {}", graph.shape(tried), graph.shape(y));
        return Err(Error::shape(NAME, problem, "give states of one shape"));
    }
    graph.push(
        Accept { per_step: table.per_step, column },
        &[y, slopes, tried, table.rows, table.counter],
        &[],
    );
    Ok(())
}

/// A launch over a state of `elements`, which writes `to`; its coefficients are the columns of the table from `column` on.
fn candidate(
    shader: &'static str,
    io: &Io,
    per_step: usize,
    elements: usize,
    column: usize,
    to: &[Operand],
) -> Candidate {
    let launch = by_table(shader, io, per_step, elements, to);
    Candidate::plain(vec![launch.params(fields! { column }).flops(16.0 * elements as f64)])
}

#[derive(Debug)]
struct Stage {
    per_step: usize,
    first: usize,
}

impl Op for Stage {
    fn name(&self) -> &'static str {
        NAME
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let elements = io.output(0).elements();
        let to = [Operand::Output(0)];
        vec![candidate("rk45/stage.wgsl", io, self.per_step, elements, self.first, &to)]
    }
}

#[derive(Debug)]
struct Store {
    per_step: usize,
    column: usize,
}

impl Op for Store {
    fn name(&self) -> &'static str {
        NAME
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let elements = io.input(1).elements();
        let to = [Operand::Input(0)];
        vec![candidate("rk45/store.wgsl", io, self.per_step, elements, self.column, &to)]
    }

    fn mutates(&self) -> &[usize] {
        &[0]
    }
}

#[derive(Debug)]
struct Ratio {
    per_step: usize,
    first: usize,
}

impl Op for Ratio {
    fn name(&self) -> &'static str {
        NAME
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let elements = io.output(0).elements();
        let to = [Operand::Output(0)];
        vec![candidate("rk45/ratio.wgsl", io, self.per_step, elements, self.first, &to)]
    }
}

#[derive(Debug)]
struct Accept {
    per_step: usize,
    column: usize,
}

impl Op for Accept {
    fn name(&self) -> &'static str {
        NAME
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let elements = io.input(0).elements();
        let to = [Operand::Input(0), Operand::Input(1)];
        vec![candidate("rk45/accept.wgsl", io, self.per_step, elements, self.column, &to)]
    }

    fn mutates(&self) -> &[usize] {
        &[0, 1]
    }
}
