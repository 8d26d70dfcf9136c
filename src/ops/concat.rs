//! Channels side by side: concatenation, and windows of channels with zeros outside.

use crate::error::{Error, Result};
use crate::gpu::Capabilities;
use crate::graph::{Candidate, Graph, Io, Launch, Node, Op, Operand, Shape, Value};

use super::flat_groups;

/// `a` (`… c1`) and behind it `b` (`… c2`): `… c1+c2`.
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

#[derive(Debug)]
struct Concat;

impl Op for Concat {
    fn stem(&self) -> &'static str {
        "concat"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let [c1, c2] = [0, 1].map(|i| io.input(i).last());
        let v = lanes(&[c1, c2]);
        let count = io.output(0).elements() / v;
        let launch = Launch::new("concat/concat.wgsl")
            .constant("V", v)
            .read(Operand::Input(0))
            .read(Operand::Input(1))
            .write(Operand::Output(0))
            .word(c1 / v)
            .word(c2 / v)
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
        let Some(grad_y) = grads[0] else { return Ok(vec![None; 2]) };
        let [c1, c2] = [0, 1].map(|i| graph.shape(node.inputs[i]).last());
        let mut part = |need, from: usize, channels| match need {
            true => window(graph, grad_y, from as i32, channels).map(Some),
            false => Ok(None),
        };
        Ok(vec![part(needs[0], 0, c1)?, part(needs[1], c1, c2)?])
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
    fn stem(&self) -> &'static str {
        "concat"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let (c_x, c_y) = (io.input(0).last(), io.output(0).last());
        let v = lanes(&[c_x, c_y, self.from.unsigned_abs() as usize]);
        let count = io.output(0).elements() / v;
        let from = self.from / v as i32;
        let launch = Launch::new("concat/window.wgsl")
            .constant("V", v)
            .read(Operand::Input(0))
            .write(Operand::Output(0))
            .word(c_x / v)
            .word(c_y / v)
            .word(count)
            // Two's complement: the shader reads the word as a signed number.
            .word(from as u32 as usize)
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
        let (Some(grad_y), true) = (grads[0], needs[0]) else { return Ok(vec![None]) };
        let c_x = graph.shape(node.inputs[0]).last();
        Ok(vec![Some(window(graph, grad_y, -self.from, c_x)?)])
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
    fn stem(&self) -> &'static str {
        "concat"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        // A window of one long row.
        let (held, count) = (io.input(0).elements(), io.output(0).elements());
        let v = lanes(&[held, count, self.first]);
        let launch = Launch::new("concat/window.wgsl")
            .constant("V", v)
            .read(Operand::Input(0))
            .write(Operand::Output(0))
            .word(held / v)
            .word(count / v)
            .word(count / v)
            .word(self.first / v)
            .grid(flat_groups(count / v, 1), 1, 1)
            .flops(count as f64);
        vec![Candidate::plain(vec![launch])]
    }

    fn flops(&self, _: &Io) -> f64 {
        0.0
    }
}
