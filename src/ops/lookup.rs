//! Reads from tables by a counter on the device, so that what varies from step to step needs no word from the host. Tables are data: there
//! is no gradient by them.

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::{Capabilities, Const};
use crate::graph::{Candidate, DType, Graph, Io, Launch, Op, Operand, Shape, Value};

use super::lanes;
use super::shared::flat::flat;

/// Rows of coefficients, and the counter that says which row counts now.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// `rows × columns`, f32.
    pub rows: Value,
    /// One u32; [`advance`] adds one at the end of a step.
    pub counter: Value,
    /// Rows of a step: 1 for all images, or as many as there are images, one for each.
    pub per_step: usize,
}

impl Table {
    /// An input of `rows × columns` that the host fills, and a counter that begins at 0.
    pub fn new(graph: &mut Graph, name: &str, rows: usize, columns: usize) -> Self {
        let counter = graph.state(&format!("{name} counter"), [1], DType::U32);
        Self { rows: graph.input(name, [rows, columns]), counter, per_step: 1 }
    }

    /// The same with a row for each of `n` images in each of `steps`.
    pub fn of_images(graph: &mut Graph, name: &str, steps: usize, n: usize, columns: usize) -> Self {
        Self { per_step: n, ..Self::new(graph, name, steps * n, columns) }
    }

    /// Whether it has column `last` and, in each step, a row for all images or one for each of `images`.
    pub(super) fn check(self, graph: &Graph, op: &'static str, last: usize, images: usize) -> Result<()> {
        let shape = graph.shape(self.rows);
        if shape.rank() != 2 || last >= shape[1] {
            let problem = format!("column {last} of a table {shape}");
            return Err(Error::shape(op, problem, "give a column it has"));
        }
        if (self.per_step != 1 && self.per_step != images) || !shape[0].is_multiple_of(self.per_step) {
            let problem = format!("{} rows a step in a table {shape} for {images} images", self.per_step);
            return Err(Error::shape(op, problem, "give each step one row, or one for each image"));
        }
        Ok(())
    }
}

/// The fields by which a kernel finds an image's row in a table of `shape` (`shared/table_row.wgsl`).
pub(super) fn table_fields(shape: &Shape, per_step: usize) -> [(&'static str, Const); 3] {
    fields! { rows: shape[0], columns: shape[1], per_step }
}

/// A flat launch over a state of `elements` that reads a table, whose rows are the last input but one. It reads the inputs that are not
/// in `to`, which it writes.
pub(super) fn by_table(
    shader: &'static str,
    io: &Io,
    per_step: usize,
    elements: usize,
    to: &[Operand],
) -> Launch {
    let per_image = elements / per_step;
    let v = lanes(per_image);
    let inputs = (0..io.inputs.len()).map(Operand::Input).filter(|input| !to.contains(input));
    let launch = inputs.fold(flat(shader, elements / v).constant("V", v), Launch::read);
    to.iter()
        .copied()
        .fold(launch, Launch::write)
        .params(table_fields(io.input(io.inputs.len() - 2), per_step))
        .params(fields! { per_image: per_image / v })
}

const NAME: &str = "lookup";

fn check_counter(graph: &Graph, counter: Value) -> Result<()> {
    if graph.dtype(counter) != DType::U32 || graph.shape(counter).elements() != 1 {
        let problem = format!("the counter is {} of {:?}", graph.shape(counter), graph.dtype(counter));
        return Err(Error::shape(NAME, problem, "give one u32"));
    }
    Ok(())
}

/// `table[counter, column]` for each of `n` images: `n`.
///
/// # Errors
/// [`Error::Shape`] when the table has no such column.
pub fn column(graph: &mut Graph, table: Table, column: usize, n: usize) -> Result<Value> {
    check_counter(graph, table.counter)?;
    table.check(graph, NAME, column, n)?;
    Ok(graph.push1(Column { per_step: table.per_step, column }, &[table.rows, table.counter], [n]))
}

/// `stack[counter·stride + first]`, where `stack` holds tensors along its first axis.
///
/// # Errors
/// [`Error::Shape`] when the stack has fewer than two dimensions.
pub fn slice(graph: &mut Graph, stack: Value, counter: Value, stride: usize, first: usize) -> Result<Value> {
    check_counter(graph, counter)?;
    let shape = graph.shape(stack).clone();
    if shape.rank() < 2 {
        return Err(Error::shape(NAME, format!("a stack of {shape}"), "give tensors along a first axis"));
    }
    let inner: Shape = shape.dims()[1..].into();
    let op = Slice { rows: shape[0], length: inner.elements(), stride, first };
    Ok(graph.push1(op, &[stack, counter], inner))
}

/// Adds one to the counter. Ops that were traced before see the old value, ops after it the new one.
///
/// # Errors
/// [`Error::Shape`] when the counter is not one u32.
pub fn advance(graph: &mut Graph, counter: Value) -> Result<()> {
    check_counter(graph, counter)?;
    graph.push(Advance, &[counter], &[]);
    Ok(())
}

#[derive(Debug)]
struct Column {
    per_step: usize,
    column: usize,
}

impl Op for Column {
    fn name(&self) -> &'static str {
        NAME
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let n = io.output(0).elements();
        let launch = Launch::new("lookup/column.wgsl")
            .read_inputs(0..2)
            .write(Operand::Output(0))
            .params(fields! { n })
            .params(table_fields(io.input(0), self.per_step))
            .params(fields! { column: self.column })
            .grid(n.div_ceil(64), 1, 1);
        vec![Candidate::plain(vec![launch])]
    }
}

#[derive(Debug)]
struct Slice {
    rows: usize,
    length: usize,
    stride: usize,
    first: usize,
}

impl Op for Slice {
    fn name(&self) -> &'static str {
        NAME
    }

    fn candidates(&self, _: &Io, _: &Capabilities) -> Vec<Candidate> {
        let v = lanes(self.length);
        let launch = flat("lookup/slice.wgsl", self.length / v)
            .constant("V", v)
            .read_inputs(0..2)
            .write(Operand::Output(0))
            .params(fields! { rows: self.rows, stride: self.stride, first: self.first });
        vec![Candidate::plain(vec![launch])]
    }
}

#[derive(Debug)]
struct Advance;

impl Op for Advance {
    fn name(&self) -> &'static str {
        NAME
    }

    fn candidates(&self, _: &Io, _: &Capabilities) -> Vec<Candidate> {
        vec![Candidate::plain(vec![Launch::new("lookup/advance.wgsl").write(Operand::Input(0))])]
    }

    fn mutates(&self) -> &[usize] {
        &[0]
    }
}
