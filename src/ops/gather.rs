//! Rows of a table by label: noise levels, and the parameters of conditional norms.

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::Capabilities;
use crate::graph::{Candidate, DType, Gradients, Graph, Io, Node, Op, Operand, Value};

use super::shared::flat::flat;

/// Turns of the loop over labels in the gradient: what every driver does.
const MOST_LABELS: usize = 65_535;

/// Row `trunc(label)` of `table` (`k m`) for each label of `labels` (`n`, floats or unsigned integers): `n m`. A label outside
/// the table takes its first or last row, since a kernel cannot refuse it. Labels have no gradient.
///
/// # Errors
/// [`Error::Shape`] when the table is not `k m`, or the labels are not `n` or more than 65,535.
pub fn gather(graph: &mut Graph, table: Value, labels: Value) -> Result<Value> {
    let (&[k, m], &[n]) = (graph.shape(table).dims(), graph.shape(labels).dims()) else {
        let problem = format!("the table is {}, the labels {}", graph.shape(table), graph.shape(labels));
        return Err(Error::shape("gather", problem, "give a table of k m and n labels"));
    };
    if k == 0 {
        return Err(Error::shape("gather", "the table has no rows", "give at least one"));
    }
    if n > MOST_LABELS {
        let problem = format!("{n} labels at once");
        return Err(Error::shape("gather", problem, format!("give at most {MOST_LABELS}")));
    }
    Ok(graph.push1(Gather, &[table, labels], [n, m]))
}

/// Whether the labels are integers.
fn integer(io: &Io) -> bool {
    io.inputs[1].dtype == DType::U32
}

#[derive(Debug)]
struct Gather;

impl Op for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let (table, count) = (io.input(0), io.output(0).elements());
        let launch = flat("gather/forward.wgsl", count)
            .constant("INTEGER", integer(io))
            .read_inputs(0..2)
            .write(Operand::Output(0))
            .params(fields! { k: table[0], m: table[1] })
            .flops(count as f64);
        vec![Candidate::plain(vec![launch])]
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        let shape = graph.shape(node.inputs[0]).clone();
        node.by_first(|| Ok(graph.push1(Scatter, &[grad_y, node.inputs[1]], shape)))
    }

    fn flops(&self, _: &Io) -> f64 {
        0.0
    }
}

/// The gradient by the table: each row is the sum of the gradients of the labels that took it.
#[derive(Debug)]
struct Scatter;

impl Op for Scatter {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let (table, n) = (io.output(0), io.input(0)[0]);
        let count = table.elements();
        let launch = flat("gather/backward.wgsl", count)
            .constant("INTEGER", integer(io))
            .read_inputs(0..2)
            .write(Operand::Output(0))
            .params(fields! { k: table[0], m: table[1], n })
            .flops((count * n) as f64);
        vec![Candidate::plain(vec![launch])]
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        node.by_first(|| gather(graph, grad_y, node.inputs[1]))
    }
}
