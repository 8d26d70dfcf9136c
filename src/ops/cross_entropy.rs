//! Cross-entropy of logits against labels.

use crate::error::{Error, Result};
use crate::gpu::Capabilities;
use crate::graph::{Candidate, DType, Graph, Io, Launch, Node, Op, Operand, Shape, Value};

use super::reduce;

/// `−ln softmax(logits)[label]` of each row: `logits` is `n classes`, `labels` is `n` unsigned integers, the result `n`. A label
/// that is no class counts as the last one, since a kernel cannot refuse it: check labels where they come from.
///
/// # Errors
/// [`Error::Shape`] when `logits` is no matrix with columns, or `labels` has not one unsigned integer for each row.
pub fn cross_entropy(graph: &mut Graph, logits: Value, labels: Value) -> Result<Value> {
    let n = check(graph, logits, labels)?;
    Ok(graph.push1(Forward, &[logits, labels], [n]))
}

/// 1 for each row whose label has the largest logit, the first among equals, else 0: `n`, whose mean is the accuracy. It has no gradient.
///
/// # Errors
/// As [`cross_entropy`].
pub fn correct(graph: &mut Graph, logits: Value, labels: Value) -> Result<Value> {
    let n = check(graph, logits, labels)?;
    Ok(graph.push1(Correct, &[logits, labels], [n]))
}

/// The number of rows.
fn check(graph: &Graph, logits: Value, labels: Value) -> Result<usize> {
    let (&[n, 1..=usize::MAX], DType::U32) = (graph.shape(logits).dims(), graph.dtype(labels)) else {
        let problem = format!("logits {} with labels of {:?}", graph.shape(logits), graph.dtype(labels));
        return Err(Error::shape("cross_entropy", problem, "give n rows of logits and n unsigned integers"));
    };
    if graph.shape(labels).dims() != [n] {
        let problem = format!("logits {} with labels {}", graph.shape(logits), graph.shape(labels));
        return Err(Error::shape("cross_entropy", problem, "give one label for each row"));
    }
    Ok(n)
}

/// The mean of [`cross_entropy`] over the rows, `1`.
///
/// # Errors
/// As [`cross_entropy`], and when there is no row.
pub fn cross_entropy_mean(graph: &mut Graph, logits: Value, labels: Value) -> Result<Value> {
    let losses = cross_entropy(graph, logits, labels)?;
    reduce::mean_all(graph, losses)
}

/// A launch with a workgroup for each row of logits.
fn by_row(shader: &'static str, io: &Io, logits: &Shape) -> Candidate {
    let mut launch = Launch::new(shader);
    for i in 0..io.inputs.len() {
        launch = launch.read(Operand::Input(i));
    }
    let launch = launch
        .write(Operand::Output(0))
        .word(logits.last())
        .grid(logits[0], 1, 1)
        .flops(4.0 * logits.elements() as f64);
    Candidate::plain(vec![launch])
}

#[derive(Debug)]
struct Forward;

impl Op for Forward {
    fn stem(&self) -> &'static str {
        "cross_entropy"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        vec![by_row("cross_entropy/forward.wgsl", io, io.input(0))]
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: Node<'_>,
        grads: &[Option<Value>],
        needs: &[bool],
    ) -> Result<Vec<Option<Value>>> {
        let (Some(grad_loss), true) = (grads[0], needs[0]) else { return Ok(vec![None; 2]) };
        let shape = graph.shape(node.inputs[0]).clone();
        let inputs = [node.inputs[0], node.inputs[1], grad_loss];
        Ok(vec![Some(graph.push1(Backward, &inputs, shape)), None])
    }

    fn flops(&self, io: &Io) -> f64 {
        4.0 * io.input(0).elements() as f64
    }
}

/// From the logits, the labels and the gradient of each row's loss.
#[derive(Debug)]
struct Backward;

impl Op for Backward {
    fn stem(&self) -> &'static str {
        "cross_entropy"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        vec![by_row("cross_entropy/backward.wgsl", io, io.input(0))]
    }

    fn flops(&self, io: &Io) -> f64 {
        4.0 * io.input(0).elements() as f64
    }
}

#[derive(Debug)]
struct Correct;

impl Op for Correct {
    fn stem(&self) -> &'static str {
        "cross_entropy"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        vec![by_row("cross_entropy/correct.wgsl", io, io.input(0))]
    }

    fn flops(&self, io: &Io) -> f64 {
        2.0 * io.input(0).elements() as f64
    }
}
