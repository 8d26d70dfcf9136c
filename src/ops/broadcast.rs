//! One number for a whole image: products, sums and copies.

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::Capabilities;
use crate::graph::{Candidate, Gradients, Graph, Io, Node, Op, Operand, Shape, Value};

use super::shared::flat::{factors, flat};
use super::{column_sum, lanes, reduce};

/// Most terms of [`combine_images`]: two bindings each, and one for the result.
const MOST: usize = 3;

/// `x·s[image]`: `x` is `n …`, `s` is `n`.
///
/// # Errors
/// [`Error::Shape`] when `s` has not one number per image.
pub fn scale_images(graph: &mut Graph, x: Value, s: Value) -> Result<Value> {
    combine_images(graph, &[(x, s, 1.0)])
}

/// `Σ k·x·s[image]` over one to three terms `(x, s, k)`: all `x` are `n …`, all `s` are `n`. A perturbed image is
/// `mean[image]·x + std[image]·z`.
///
/// # Errors
/// [`Error::Shape`] when shapes differ or there are no terms, or more than three.
pub fn combine_images(graph: &mut Graph, terms: &[(Value, Value, f32)]) -> Result<Value> {
    if terms.is_empty() || terms.len() > MOST {
        let problem = format!("{} terms", terms.len());
        return Err(Error::shape("broadcast", problem, "give one to three"));
    }
    let shape = graph.shape(terms[0].0).clone();
    for &(x, s, _) in terms {
        if *graph.shape(x) != shape {
            let problem = format!("{shape} against {}", graph.shape(x));
            return Err(Error::shape("broadcast", problem, "give terms of one shape"));
        }
        check(graph, &shape, s)?;
    }
    let inputs: Vec<Value> = terms.iter().flat_map(|t| [t.0, t.1]).collect();
    Ok(graph.push1(Combine { coefficients: terms.iter().map(|t| t.2).collect() }, &inputs, shape))
}

/// `x + s[image]`: `x` is `n …`, `s` is `n`.
///
/// # Errors
/// [`Error::Shape`] when `s` has not one number per image.
pub fn add_images(graph: &mut Graph, x: Value, s: Value) -> Result<Value> {
    let shape = graph.shape(x).clone();
    check(graph, &shape, s)?;
    Ok(graph.push1(Add, &[x, s], shape))
}

/// `x + s[channel]`: `x` is `… c`, `s` is `c`.
///
/// # Errors
/// [`Error::Shape`] when `s` has not one number per channel.
pub fn add_channels(graph: &mut Graph, x: Value, s: Value) -> Result<Value> {
    let shape = graph.shape(x).clone();
    if shape.elements() == 0 || *graph.shape(s) != Shape::from([shape.last()]) {
        let problem = format!("{} for the channels of {shape}", graph.shape(s));
        return Err(Error::shape("broadcast", problem, "give one number per channel"));
    }
    Ok(graph.push1(AddChannels, &[x, s], shape))
}

/// `factor·s[image]` at every element of an image: `s` is `n`, or any shape of which each number fills an equal run of `shape`.
///
/// # Errors
/// [`Error::Shape`] when `shape` has not a whole number of elements for each one of `s`.
pub fn spread(graph: &mut Graph, s: Value, shape: impl Into<Shape>, factor: f32) -> Result<Value> {
    let shape = shape.into();
    let (given, rows) = (graph.shape(s), graph.shape(s).elements());
    if rows == 0 || shape.elements() == 0 || !shape.elements().is_multiple_of(rows) {
        let problem = format!("{given} does not spread over {shape}");
        return Err(Error::shape("broadcast", problem, "give one number for each image"));
    }
    Ok(graph.push1(Spread { factor, rows }, &[s], shape))
}

fn check(graph: &Graph, shape: &Shape, s: Value) -> Result<()> {
    let n = shape.dims().first().copied().unwrap_or(0);
    if n == 0 || shape.elements() == 0 || *graph.shape(s) != Shape::from([n]) {
        let problem = format!("{} for the images of {shape}", graph.shape(s));
        return Err(Error::shape("broadcast", problem, "give one number per image"));
    }
    Ok(())
}

/// Elements of an image, and how many a kernel takes at once.
fn per_image(shape: &Shape) -> (usize, usize) {
    let size = shape.elements() / shape[0];
    (size, lanes(size))
}

#[derive(Debug)]
struct Combine {
    coefficients: Vec<f32>,
}

impl Op for Combine {
    fn name(&self) -> &'static str {
        "broadcast"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let y = io.output(0);
        let (size, v) = per_image(y);
        let terms = self.coefficients.len();
        let launch = flat("broadcast/scale.wgsl", y.elements() / v)
            .constants(fields! { V: v, TERMS: terms })
            .read_inputs(0..2 * terms)
            .write(Operand::Output(0))
            .params(fields! { size: size / v })
            .params(factors(&self.coefficients))
            .flops((3 * terms * y.elements()) as f64);
        vec![Candidate::plain(vec![launch])]
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        node.by_each(|i| {
            // x and s of each term, one after the other.
            let k = self.coefficients[i / 2];
            match i % 2 {
                0 => combine_images(graph, &[(grad_y, node.inputs[i + 1], k)]),
                _ => reduce::dot_images(graph, grad_y, node.inputs[i - 1], k),
            }
        })
    }
}

#[derive(Debug)]
struct Add;

impl Op for Add {
    fn name(&self) -> &'static str {
        "broadcast"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let y = io.output(0);
        let (size, v) = per_image(y);
        let launch = flat("broadcast/add.wgsl", y.elements() / v)
            .constant("V", v)
            .read(Operand::Input(1))
            .read_or_in_place(io)
            .write(Operand::Output(0))
            .params(fields! { size: size / v })
            .flops(y.elements() as f64);
        vec![Candidate::plain(vec![launch])]
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        node.by_each(|i| match i {
            0 => Ok(grad_y),
            _ => reduce::sum_images(graph, grad_y),
        })
    }
}

#[derive(Debug)]
struct AddChannels;

impl Op for AddChannels {
    fn name(&self) -> &'static str {
        "broadcast"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let y = io.output(0);
        let v = lanes(y.last());
        let launch = flat("broadcast/add_channels.wgsl", y.elements() / v)
            .constant("V", v)
            .read(Operand::Input(1))
            .read_or_in_place(io)
            .write(Operand::Output(0))
            .params(fields! { channels: y.last() / v })
            .flops(y.elements() as f64);
        vec![Candidate::plain(vec![launch])]
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        node.by_each(|i| match i {
            0 => Ok(grad_y),
            _ => column_sum::column_sum(graph, grad_y, 1),
        })
    }
}

#[derive(Debug)]
struct Spread {
    factor: f32,
    /// Numbers in `s`.
    rows: usize,
}

impl Op for Spread {
    fn name(&self) -> &'static str {
        "broadcast"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let y = io.output(0);
        let size = y.elements() / self.rows;
        let v = lanes(size);
        let launch = flat("broadcast/spread.wgsl", y.elements() / v)
            .constant("V", v)
            .read(Operand::Input(0))
            .write(Operand::Output(0))
            .params(fields! { size: size / v, factor: self.factor })
            .flops(y.elements() as f64);
        vec![Candidate::plain(vec![launch])]
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        let shape = graph.shape(node.inputs[0]).clone();
        node.by_first(|| reduce::sum_runs(graph, grad_y, shape, self.factor))
    }
}
