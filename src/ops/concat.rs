//! Channels side by side: concatenation, and windows of channels with zeros outside.

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::{Capabilities, Const};
use crate::graph::{Candidate, Gradients, Graph, Io, Launch, Node, Op, Operand, Shape, Value};

use super::shared::flat::flat;

/// `a` (`… c1`) and `b` (`… c2`) side by side along the last axis: `… c1+c2`.
///
/// # Errors
/// [`Error::Shape`] when the other sizes differ.
pub fn concat(graph: &mut Graph, a: Value, b: Value) -> Result<Value> {
    let (from, other) = (graph.shape(a), graph.shape(b));
    let rows = |shape: &Shape| shape.dims().split_last().map(|(_, rows)| rows.to_vec());
    if rows(from).is_none() || rows(from) != rows(other) {
        let problem = format!("{from} and {other} cannot stand side by side");
        return Err(Error::shape("concat", problem, "give tensors that differ in their last size only"));
    }
    let shape = with_last(from, from.last() + other.last());
    Ok(graph.push1(Concat, &[a, b], shape))
}

/// `channels` channels of `x` (`… c`) beginning with channel `from`; zeros where `x` has none.
///
/// # Errors
/// [`Error::Shape`] when `x` is a scalar or nothing is asked for.
pub fn window(graph: &mut Graph, x: Value, from: i32, channels: usize) -> Result<Value> {
    let shape = graph.shape(x);
    if shape.rank() == 0 || channels == 0 {
        let problem = format!("{channels} channels of {shape}");
        return Err(Error::shape(
            "concat",
            problem,
            "ask for at least one channel of a tensor that has some",
        ));
    }
    let shape = with_last(shape, channels);
    Ok(graph.push1(Window { from }, &[x], shape))
}

/// As many elements of `x` from `first` on as `shape` has, in their order: a part of a gradient. It has none of its own.
///
/// # Errors
/// [`Error::Shape`] when `x` has not so many.
pub(super) fn part(graph: &mut Graph, x: Value, first: usize, shape: Shape) -> Result<Value> {
    let held = graph.shape(x).elements();
    if first + shape.elements() > held {
        let problem = format!("{shape} from element {first} on of {}", graph.shape(x));
        return Err(Error::shape("concat", problem, "ask for elements that there are"));
    }
    Ok(graph.push1(Part { first }, &[x], shape))
}

fn with_last(shape: &Shape, last: usize) -> Shape {
    let mut dims = shape.dims().to_vec();
    if let Some(end) = dims.last_mut() {
        *end = last;
    }
    dims.into()
}

/// 4 where every one of these counts of channels is a multiple of 4.
fn lanes(channels: &[usize]) -> usize {
    if channels.iter().all(|c| c.is_multiple_of(4)) { 4 } else { 1 }
}

/// The elements from `start` on of each row of input 0 into output 0, which has `elements`; `rows` are the lengths of their rows.
fn window_launch(rows: [usize; 2], start: i32, elements: usize) -> Launch {
    let [c_x, c_y] = rows;
    let v = lanes(&[c_x, c_y, start.unsigned_abs() as usize]);
    flat("concat/window.wgsl", elements / v)
        .constant("V", v)
        .read(Operand::Input(0))
        .write(Operand::Output(0))
        .params(fields! { c_x: c_x / v, c_y: c_y / v, start: Const::I32(start / v as i32) })
        .flops(elements as f64)
}

#[derive(Debug)]
struct Concat;

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let [c1, c2] = [0, 1].map(|i| io.input(i).last());
        let v = lanes(&[c1, c2]);
        let count = io.output(0).elements() / v;
        let launch = flat("concat/concat.wgsl", count)
            .constant("V", v)
            .read_inputs(0..2)
            .write(Operand::Output(0))
            .params(fields! { c1: c1 / v, c2: c2 / v })
            .flops(count as f64);
        vec![Candidate::plain(vec![launch])]
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        let [c1, c2] = [0, 1].map(|i| graph.shape(node.inputs[i]).last());
        node.by_each(|i| match i {
            0 => window(graph, grad_y, 0, c1),
            _ => window(graph, grad_y, c1 as i32, c2),
        })
    }

    fn flops(&self, _: &Io) -> f64 {
        0.0
    }
}

#[derive(Debug)]
struct Window {
    from: i32,
}

impl Op for Window {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let rows = [io.input(0).last(), io.output(0).last()];
        vec![Candidate::plain(vec![window_launch(rows, self.from, io.output(0).elements())])]
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        let c_x = graph.shape(node.inputs[0]).last();
        node.by_first(|| window(graph, grad_y, -self.from, c_x))
    }

    fn flops(&self, _: &Io) -> f64 {
        0.0
    }
}

#[derive(Debug)]
struct Part {
    first: usize,
}

impl Op for Part {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        // A window of one long row.
        let (held, taken) = (io.input(0).elements(), io.output(0).elements());
        vec![Candidate::plain(vec![window_launch([held, taken], self.first as i32, taken)])]
    }

    fn flops(&self, _: &Io) -> f64 {
        0.0
    }
}
