//! Reads from tables by a counter on the device, so that what varies from step to step needs no word from the host.

use crate::error::{Error, Result};
use crate::gpu::Capabilities;
use crate::graph::{Candidate, DType, Graph, Io, Launch, Node, Op, Operand, Shape, Value};

use super::{flat_groups, lanes};

/// Rows of coefficients, and the counter that says which row counts now.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// `rows × columns`, f32.
    pub rows: Value,
    /// One u32; [`advance`] adds one at the end of a step.
    pub counter: Value,
}

impl Table {
    /// An input of `rows × columns` that the host fills, and a counter that begins at 0.
    pub fn new(graph: &mut Graph, name: &str, rows: usize, columns: usize) -> Self {
        let counter = graph.state(&format!("{name} counter"), [1], DType::U32);
        Self { rows: graph.input(name, [rows, columns]), counter }
    }
}

const STEM: &str = "lookup";

fn check_counter(graph: &Graph, counter: Value) -> Result<()> {
    if graph.dtype(counter) != DType::U32 || graph.shape(counter).elements() != 1 {
        let problem = format!("the counter is {} of {:?}", graph.shape(counter), graph.dtype(counter));
        return Err(Error::shape(STEM, problem, "give one u32"));
    }
    Ok(())
}

/// `table[counter, column]`, the same number for each of `n` images: `n`.
///
/// # Errors
/// [`Error::Shape`] when the table has no such column.
pub fn column(graph: &mut Graph, table: Table, column: usize, n: usize) -> Result<Value> {
    check_counter(graph, table.counter)?;
    let shape = graph.shape(table.rows).clone();
    if shape.rank() != 2 || column >= shape[1] {
        return Err(Error::shape(
            STEM,
            format!("column {column} of a table {shape}"),
            "give a column it has",
        ));
    }
    let op = Column { columns: shape[1], rows: shape[0], column };
    Ok(graph.push1(op, &[table.rows, table.counter], [n]))
}

/// `stack[counter·stride + first]`, where `stack` holds tensors one behind the other along its first axis.
///
/// # Errors
/// [`Error::Shape`] when the stack has fewer than two dimensions.
pub fn slice(graph: &mut Graph, stack: Value, counter: Value, stride: usize, first: usize) -> Result<Value> {
    check_counter(graph, counter)?;
    let shape = graph.shape(stack).clone();
    if shape.rank() < 2 {
        return Err(Error::shape(STEM, format!("a stack of {shape}"), "give tensors along a first axis"));
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

/// A table is data: nothing is differentiated by it.
fn no_gradient(needs: &[bool]) -> Result<Vec<Option<Value>>> {
    Ok(vec![None; needs.len()])
}

#[derive(Debug)]
struct Column {
    rows: usize,
    columns: usize,
    column: usize,
}

impl Op for Column {
    fn stem(&self) -> &'static str {
        STEM
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let n = io.output(0).elements();
        let launch = Launch::new("lookup/column.wgsl")
            .read(Operand::Input(0))
            .read(Operand::Input(1))
            .write(Operand::Output(0))
            .word(n)
            .word(self.rows)
            .word(self.columns)
            .word(self.column)
            .grid(n.div_ceil(64), 1, 1);
        vec![Candidate::plain(vec![launch])]
    }

    fn backward(
        &self,
        _: &mut Graph,
        _: Node<'_>,
        _: &[Option<Value>],
        needs: &[bool],
    ) -> Result<Vec<Option<Value>>> {
        no_gradient(needs)
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
    fn stem(&self) -> &'static str {
        STEM
    }

    fn candidates(&self, _: &Io, _: &Capabilities) -> Vec<Candidate> {
        let v = lanes(self.length);
        let launch = Launch::new("lookup/slice.wgsl")
            .constant("V", v)
            .read(Operand::Input(0))
            .read(Operand::Input(1))
            .write(Operand::Output(0))
            .word(self.length / v)
            .word(self.rows)
            .word(self.stride)
            .word(self.first)
            .grid(flat_groups(self.length, v), 1, 1);
        vec![Candidate::plain(vec![launch])]
    }

    fn backward(
        &self,
        _: &mut Graph,
        _: Node<'_>,
        _: &[Option<Value>],
        needs: &[bool],
    ) -> Result<Vec<Option<Value>>> {
        no_gradient(needs)
    }
}

#[derive(Debug)]
struct Advance;

impl Op for Advance {
    fn stem(&self) -> &'static str {
        STEM
    }

    fn candidates(&self, _: &Io, _: &Capabilities) -> Vec<Candidate> {
        vec![Candidate::plain(vec![Launch::new("lookup/advance.wgsl").write(Operand::Input(0))])]
    }

    fn mutates(&self) -> &[usize] {
        &[0]
    }

    fn backward(
        &self,
        _: &mut Graph,
        _: Node<'_>,
        _: &[Option<Value>],
        needs: &[bool],
    ) -> Result<Vec<Option<Value>>> {
        no_gradient(needs)
    }
}
