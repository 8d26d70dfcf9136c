//! Cross-entropy of logits against labels.

use crate::error::{Error, Result};
use crate::gpu::Capabilities;
use crate::graph::{Candidate, DType, Gradients, Graph, Io, Node, Op, Value};

use super::reduce;
use super::shared::flat::by_row;

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

/// A launch over the rows of the logits, which are input 0.
fn candidate(shader: &'static str, io: &Io) -> Candidate {
    let logits = io.input(0);
    Candidate::plain(vec![by_row(shader, io, logits).flops(4.0 * logits.elements() as f64)])
}

#[derive(Debug)]
struct Forward;

impl Op for Forward {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        vec![candidate("cross_entropy/forward.wgsl", io)]
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        let (logits, labels) = (node.inputs[0], node.inputs[1]);
        let shape = graph.shape(logits).clone();
        node.by_first(|| Ok(graph.push1(Backward, &[logits, labels, grad_y], shape)))
    }

    fn flops(&self, io: &Io) -> f64 {
        4.0 * io.input(0).elements() as f64
    }
}

/// From the logits, the labels and the gradient of each row's loss.
#[derive(Debug)]
struct Backward;

impl Op for Backward {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        vec![candidate("cross_entropy/backward.wgsl", io)]
    }

    fn flops(&self, io: &Io) -> f64 {
        4.0 * io.input(0).elements() as f64
    }
}

#[derive(Debug)]
struct Correct;

impl Op for Correct {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        vec![candidate("cross_entropy/correct.wgsl", io)]
    }

    fn flops(&self, io: &Io) -> f64 {
        2.0 * io.input(0).elements() as f64
    }
}
