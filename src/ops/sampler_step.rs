//! The updates of samplers, each one pass over the state with coefficients from a [`Table`] on the device.
//!
//! Nothing here is differentiated: guidance takes its gradient through the network, not through the update.

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::Capabilities;
use crate::graph::{Candidate, DType, Graph, Io, Launch, Op, Operand, Value};

use super::lanes;
use super::lookup::{Table, by_table, table_fields};
use super::shared::flat::flat;

const NAME: &str = "sampler_step";

/// Over what norms are taken: those of a Langevin step, and those of an ODE solver's errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Norm {
    /// Each image has a step of its own: image i does not depend on its neighbours.
    #[default]
    Image,
    /// One step for all, by the mean of the norms over the batch, or by the norm of all of it for an ODE, as in the authors' code.
    Batch,
}

impl std::fmt::Display for Norm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Image => "image",
            Self::Batch => "batch",
        })
    }
}

fn check(graph: &Graph, table: Table, last_column: usize, values: &[Value]) -> Result<()> {
    table.check(graph, NAME, last_column, graph.shape(values[0])[0])?;
    for &v in &values[1..] {
        if graph.shape(v) != graph.shape(values[0]) {
            let problem = format!("{} against {}", graph.shape(values[0]), graph.shape(v));
            return Err(Error::shape(NAME, problem, "give tensors of the state's shape"));
        }
    }
    Ok(())
}

/// `mean = a·x + b·score`, `y = mean + c·z`, where a, b and c are `columns` of the current row. Returns (y, mean).
/// Without `z`, y is the mean.
///
/// # Errors
/// [`Error::Shape`] when shapes differ or the table has no such column.
pub fn linear(
    graph: &mut Graph,
    table: Table,
    x: Value,
    score: Value,
    z: Option<Value>,
    columns: [usize; 3],
) -> Result<(Value, Value)> {
    let values: Vec<Value> = [Some(x), Some(score), z].into_iter().flatten().collect();
    check(graph, table, columns.into_iter().max().unwrap_or(0), &values)?;
    let inputs: Vec<Value> = values.into_iter().chain([table.rows, table.counter]).collect();
    let output = (graph.shape(x).clone(), DType::F32);
    let op = Linear { per_step: table.per_step, columns, noise: z.is_some() };
    let results = graph.push(op, &inputs, &[output.clone(), output]);
    Ok((results[0], results[1]))
}

/// The Langevin corrector (Algorithms 4 and 5 of Song et al. 2021): `step = scale·(|z|/|score|)²`, `mean = x + step·score`,
/// `y = mean + √(2 step)·z`. `squares` are the sums of squares of score and z per image (`n` each); `scale` is a column.
/// An image whose score is zero stays where it is. Returns (y, mean).
///
/// # Errors
/// [`Error::Shape`] when shapes differ or the table has no such column.
pub fn langevin(
    graph: &mut Graph,
    table: Table,
    [x, score, z]: [Value; 3],
    squares: [Value; 2],
    scale: usize,
    norm: Norm,
) -> Result<(Value, Value)> {
    check(graph, table, scale, &[x, score, z])?;
    let n = graph.shape(x)[0];
    for square in squares {
        if graph.shape(square).elements() != n {
            let problem = format!("sums of squares {} for a state {}", graph.shape(square), graph.shape(x));
            return Err(Error::shape(NAME, problem, "give one per image"));
        }
    }
    let output = (graph.shape(x).clone(), DType::F32);
    let inputs = [x, score, z, squares[0], squares[1], table.rows, table.counter];
    let results =
        graph.push(Langevin { per_step: table.per_step, n, scale, norm }, &inputs, &[output.clone(), output]);
    Ok((results[0], results[1]))
}

/// Columns of a solver's row.
#[derive(Clone, Copy, Debug)]
pub struct SolverColumns {
    /// The first of five: kept_x, kept_output, x, output, kept.
    pub first: usize,
    /// The factor of the noise.
    pub noise: usize,
    /// The slot that takes k, the slot that takes x (none where there is no such slot), and a factor for each slot.
    pub slots: usize,
}

/// One row of a few-step solver: `k = kept_x·x + kept_output·output`, clamped to ±`clip`, and
/// `y = x·x + output·output + kept·k + Σ_j before_j·slot_j + noise·z`. Then a slot takes k and another takes x; `slots` is a stack of
/// states. Returns y.
///
/// # Errors
/// [`Error::Shape`] when shapes differ or the table has no such column.
pub fn solver(
    graph: &mut Graph,
    table: Table,
    [x, output]: [Value; 2],
    slots: Value,
    z: Option<Value>,
    columns: SolverColumns,
    clip: Option<f32>,
) -> Result<Value> {
    let (shape, stack) = (graph.shape(x), graph.shape(slots));
    let count = stack[0];
    if stack.elements() != count * shape.elements() {
        let problem = format!("slots of {stack} for a state of {shape}");
        return Err(Error::shape(NAME, problem, "give a stack of states"));
    }
    let values: Vec<Value> = [Some(x), Some(output), z].into_iter().flatten().collect();
    let last = (columns.first + 4).max(columns.noise).max(columns.slots + 1 + count);
    check(graph, table, last, &values)?;
    let inputs: Vec<Value> = [slots].into_iter().chain(values).chain([table.rows, table.counter]).collect();
    let result = (graph.shape(x).clone(), DType::F32);
    let op = Solver { per_step: table.per_step, columns, count, noise: z.is_some(), clip };
    Ok(graph.push(op, &inputs, &[result])[0])
}

/// A launch over the state, with two results.
fn update(shader: &'static str, io: &Io, per_step: usize) -> Launch {
    let elements = io.output(0).elements();
    by_table(shader, io, per_step, elements, &[Operand::Output(0), Operand::Output(1)])
        .flops(5.0 * elements as f64)
}

#[derive(Debug)]
struct Linear {
    per_step: usize,
    columns: [usize; 3],
    noise: bool,
}

impl Op for Linear {
    fn name(&self) -> &'static str {
        NAME
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let [a, b, c] = self.columns;
        let launch = update("sampler_step/linear.wgsl", io, self.per_step)
            .constant("NOISE", self.noise)
            .params(fields! { a, b, c });
        vec![Candidate::plain(vec![launch])]
    }
}

#[derive(Debug)]
struct Langevin {
    per_step: usize,
    n: usize,
    scale: usize,
    norm: Norm,
}

impl Op for Langevin {
    fn name(&self) -> &'static str {
        NAME
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let elements = io.output(0).elements();
        let per_image = elements / self.n;
        let v = lanes(per_image);
        // The steps first: one number an image, so that the update stays within eight bindings.
        let steps = Launch::new("sampler_step/langevin_step.wgsl")
            .constant("BATCH", self.norm == Norm::Batch)
            .read_inputs(3..7)
            .write(Operand::Workspace(0))
            .params(fields! { n: self.n })
            .params(table_fields(io.input(5), self.per_step))
            .params(fields! { scale: self.scale })
            .grid(self.n.div_ceil(64), 1, 1);
        let update = flat("sampler_step/langevin.wgsl", elements / v)
            .constant("V", v)
            .read_inputs(0..3)
            .read(Operand::Workspace(0))
            .write(Operand::Output(0))
            .write(Operand::Output(1))
            .params(fields! { per_image: per_image / v })
            .flops(5.0 * elements as f64);
        vec![Candidate::plain(vec![steps, update]).with_workspaces(vec![4 * self.n as u64])]
    }
}

#[derive(Debug)]
struct Solver {
    per_step: usize,
    columns: SolverColumns,
    count: usize,
    noise: bool,
    clip: Option<f32>,
}

impl Op for Solver {
    fn name(&self) -> &'static str {
        NAME
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let SolverColumns { first, noise, slots } = self.columns;
        let elements = io.output(0).elements();
        let to = [Operand::Input(0), Operand::Output(0)];
        let launch = by_table("sampler_step/solver.wgsl", io, self.per_step, elements, &to)
            .constants(fields! { NOISE: self.noise, CLIP: self.clip.is_some() })
            .params(
                fields! { first, noise, slots, count_of_slots: self.count, clip: self.clip.unwrap_or(0.0) },
            )
            .flops((5 + 2 * self.count) as f64 * elements as f64);
        vec![Candidate::plain(vec![launch])]
    }

    fn mutates(&self) -> &[usize] {
        &[0]
    }
}
