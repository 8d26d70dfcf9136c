//! Rows of a table by label: noise levels, and the parameters of conditional norms.

use crate::error::{Error, Result};
use crate::gpu::Capabilities;
use crate::graph::{Candidate, DType, Graph, Io, Launch, Node, Op, Operand, Value};

use super::flat_groups;

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

/// 1 where the labels are integers.
fn integer(io: &Io) -> usize {
    usize::from(io.inputs[1].dtype == DType::U32)
}

#[derive(Debug)]
struct Gather;

impl Op for Gather {
    fn stem(&self) -> &'static str {
        "gather"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let (table, count) = (io.input(0), io.output(0).elements());
        let launch = Launch::new("gather/forward.wgsl")
            .constant("INTEGER", integer(io))
            .read(Operand::Input(0))
            .read(Operand::Input(1))
            .write(Operand::Output(0))
            .word(table[0])
            .word(table[1])
            .word(count)
            .grid(flat_groups(count, 1), 1, 1)
            .flops(count as f64);
        vec![Candidate::plain(vec![launch])]
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: Node<'_>,
        grads: &[Option<Value>],
        needs: &[bool],
    ) -> Result<Vec<Option<Value>>> {
        let (Some(grad_y), true) = (grads[0], needs[0]) else { return Ok(vec![None; 2]) };
        let shape = graph.shape(node.inputs[0]).clone();
        Ok(vec![Some(graph.push1(Scatter, &[grad_y, node.inputs[1]], shape)), None])
    }

    fn flops(&self, _: &Io) -> f64 {
        0.0
    }
}

/// The gradient by the table: each row is the sum of the gradients of the labels that took it.
#[derive(Debug)]
struct Scatter;

impl Op for Scatter {
    fn stem(&self) -> &'static str {
        "gather"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let (table, n) = (io.output(0), io.input(0)[0]);
        let count = table.elements();
        let launch = Launch::new("gather/backward.wgsl")
            .constant("INTEGER", integer(io))
            .read(Operand::Input(0))
            .read(Operand::Input(1))
            .write(Operand::Output(0))
            .word(table[0])
            .word(table[1])
            .word(count)
            .word(n)
            .grid(flat_groups(count, 1), 1, 1)
            .flops((count * n) as f64);
        vec![Candidate::plain(vec![launch])]
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: Node<'_>,
        grads: &[Option<Value>],
        needs: &[bool],
    ) -> Result<Vec<Option<Value>>> {
        let (Some(grad_y), true) = (grads[0], needs[0]) else { return Ok(vec![None; 2]) };
        Ok(vec![Some(gather(graph, grad_y, node.inputs[1])?), None])
    }
}
