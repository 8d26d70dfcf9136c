//! Sums over each image and over everything. Deterministic, in stages, and per image first, so that no order of summation within
//! an image depends on the batch. Sums of columns are `column_sum`'s.

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::Capabilities;
use crate::graph::{Candidate, Gradients, Graph, Io, Launch, Node, Op, Operand, Shape, Value};

use super::shared::flat::flat;
use super::{FLAT, broadcast, lanes};

/// Most elements that an invocation adds up before the tree.
const TURNS: usize = 16;
/// The sum over each image: `n …` to `n`.
///
/// # Errors
/// [`Error::Shape`] when `x` is empty.
pub fn sum_images(graph: &mut Graph, x: Value) -> Result<Value> {
    per_image(graph, &[x], Kind::Sum, 1.0, false)
}

/// The mean over each image: `n …` to `n`.
///
/// # Errors
/// [`Error::Shape`] when `x` is empty.
pub fn mean_images(graph: &mut Graph, x: Value) -> Result<Value> {
    let size = image_size(graph, x)?;
    per_image(graph, &[x], Kind::Sum, 1.0 / size as f32, false)
}

/// The sum of squares over each image: `n …` to `n`.
///
/// # Errors
/// [`Error::Shape`] when `x` is empty.
pub fn sum_squares_images(graph: &mut Graph, x: Value) -> Result<Value> {
    per_image(graph, &[x], Kind::Squares, 1.0, false)
}

/// The mean of squares over each image: `n …` to `n`.
///
/// # Errors
/// [`Error::Shape`] when `x` is empty.
pub fn mean_squares_images(graph: &mut Graph, x: Value) -> Result<Value> {
    let size = image_size(graph, x)?;
    per_image(graph, &[x], Kind::Squares, 1.0 / size as f32, false)
}

/// The L2 norm of each image: `n …` to `n`. The gradient at 0 is taken as 0.
///
/// # Errors
/// [`Error::Shape`] when `x` is empty.
pub fn norm_images(graph: &mut Graph, x: Value) -> Result<Value> {
    per_image(graph, &[x], Kind::Squares, 1.0, true)
}

/// `factor·Σ a·b` over each image: `n …` twice to `n`.
///
/// # Errors
/// [`Error::Shape`] when the shapes differ.
pub fn dot_images(graph: &mut Graph, a: Value, b: Value, factor: f32) -> Result<Value> {
    if graph.shape(a) != graph.shape(b) {
        let problem = format!("{} against {}", graph.shape(a), graph.shape(b));
        return Err(Error::shape("reduce", problem, "give operands of one shape"));
    }
    per_image(graph, &[a, b], Kind::Dot, factor, false)
}

/// The sum of all elements: to `1`. Images are summed first, then their sums.
///
/// # Errors
/// [`Error::Shape`] when `x` is empty.
pub fn sum_all(graph: &mut Graph, x: Value) -> Result<Value> {
    total(graph, x, 1.0)
}

/// The mean of all elements: to `1`.
///
/// # Errors
/// [`Error::Shape`] when `x` is empty.
pub fn mean_all(graph: &mut Graph, x: Value) -> Result<Value> {
    let elements = graph.shape(x).elements().max(1);
    total(graph, x, 1.0 / elements as f32)
}

/// The sum of equal runs of `x`, one for each element of `shape`, times `factor`.
pub(super) fn sum_runs(graph: &mut Graph, x: Value, shape: Shape, factor: f32) -> Result<Value> {
    nonempty(graph, x)?;
    let op = Reduce { kind: Kind::Sum, rows: shape.elements(), factor, root: false };
    Ok(graph.push1(op, &[x], shape))
}

fn total(graph: &mut Graph, x: Value, factor: f32) -> Result<Value> {
    let images = if graph.shape(x).rank() > 1 { sum_images(graph, x)? } else { x };
    sum_runs(graph, images, Shape::from([1]), factor)
}

fn nonempty(graph: &Graph, x: Value) -> Result<()> {
    if graph.shape(x).elements() == 0 {
        let problem = format!("{} has no elements", graph.shape(x));
        return Err(Error::shape("reduce", problem, "give at least one"));
    }
    Ok(())
}

fn image_size(graph: &Graph, x: Value) -> Result<usize> {
    nonempty(graph, x)?;
    let shape = graph.shape(x);
    Ok(shape.elements() / shape.dims().first().copied().unwrap_or(1))
}

fn per_image(graph: &mut Graph, inputs: &[Value], kind: Kind, factor: f32, root: bool) -> Result<Value> {
    nonempty(graph, inputs[0])?;
    let rows = graph.shape(inputs[0]).dims().first().copied().unwrap_or(1);
    Ok(graph.push1(Reduce { kind, rows, factor, root }, inputs, [rows]))
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Sum,
    Squares,
    Dot,
}

/// One number for each of `rows` equal runs of the input.
#[derive(Debug)]
struct Reduce {
    kind: Kind,
    rows: usize,
    factor: f32,
    /// The root of the sum times the factor.
    root: bool,
}

impl Reduce {
    /// A launch over runs of `size` in units of `v`, and the parts it leaves of each.
    fn stage(&self, size: usize, v: usize, kind: Kind, most: usize) -> (Launch, usize) {
        let size = size / v;
        let turns = size.div_ceil(FLAT).min(most);
        let parts = size.div_ceil(FLAT * turns);
        let finish = parts == 1;
        let launch = Launch::new("reduce/reduce.wgsl")
            .constants(fields! { V: v, KIND: kind as usize, FINISH: finish, ROOT: finish && self.root })
            .params(fields! { size, parts, turns, factor: self.factor })
            .grid(parts, self.rows, 1)
            .flops((2 * self.rows * size * v) as f64);
        (launch, parts)
    }
}

impl Op for Reduce {
    fn name(&self) -> &'static str {
        "reduce"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let size = io.input(0).elements() / self.rows;
        let (mut first, parts) = self.stage(size, lanes(size), self.kind, TURNS);
        first = first.read(Operand::Input(0));
        if self.kind == Kind::Dot {
            first = first.read(Operand::Input(1));
        }
        if parts == 1 {
            return vec![Candidate::plain(vec![first.write(Operand::Output(0))])];
        }
        let (second, _) = self.stage(parts, 1, Kind::Sum, usize::MAX);
        let second = second.read(Operand::Workspace(0)).write(Operand::Output(0));
        let launches = vec![first.write(Operand::Workspace(0)), second];
        vec![Candidate::plain(launches).with_workspaces(vec![(4 * self.rows * parts) as u64])]
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        node.by_each(|i| match self.kind {
            Kind::Sum => {
                let shape = graph.shape(node.inputs[0]).clone();
                broadcast::spread(graph, grad_y, shape, self.factor)
            }
            Kind::Squares => {
                let (s, factor) = if self.root {
                    (ratio(graph, grad_y, node.outputs[0]), self.factor)
                } else {
                    (grad_y, 2.0 * self.factor)
                };
                broadcast::combine_images(graph, &[(node.inputs[0], s, factor)])
            }
            Kind::Dot => broadcast::combine_images(graph, &[(node.inputs[1 - i], grad_y, self.factor)]),
        })
    }

    fn flops(&self, io: &Io) -> f64 {
        2.0 * io.input(0).elements() as f64
    }
}

/// `a/b`, and 0 where b is 0.
fn ratio(graph: &mut Graph, a: Value, b: Value) -> Value {
    let shape = graph.shape(a).clone();
    graph.push1(Ratio, &[a, b], shape)
}

/// Part of the gradient of a norm.
#[derive(Debug)]
struct Ratio;

impl Op for Ratio {
    fn name(&self) -> &'static str {
        "reduce"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let launch = flat("reduce/ratio.wgsl", io.output(0).elements());
        vec![Candidate::plain(vec![launch.read_inputs(0..2).write(Operand::Output(0))])]
    }
}
