//! Sums, products and linear combinations of tensors of one shape.

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::Capabilities;
use crate::graph::{Candidate, Gradients, Graph, Io, Node, Op, Operand, Shape, Value};

use super::lanes;
use super::shared::flat::{self, factors, flat};

/// Most operands of [`combine`].
const MOST: usize = 4;

/// `Σ coefficient·value` over one to four values of one shape.
///
/// # Errors
/// [`Error::Shape`] when shapes differ or there are no terms, or more than four.
pub fn combine(graph: &mut Graph, terms: &[(Value, f32)]) -> Result<Value> {
    if terms.is_empty() || terms.len() > MOST {
        let problem = format!("{} terms", terms.len());
        return Err(Error::shape("elementwise", problem, "give one to four"));
    }
    let shape = graph.shape(terms[0].0).clone();
    let values: Vec<Value> = terms.iter().map(|t| t.0).collect();
    same_shapes(graph, &values)?;
    Ok(graph.push1(Combine { coefficients: terms.iter().map(|t| t.1).collect() }, &values, shape))
}

/// `a + b`.
pub fn add(graph: &mut Graph, a: Value, b: Value) -> Result<Value> {
    combine(graph, &[(a, 1.0), (b, 1.0)])
}

/// `a − b`.
pub fn sub(graph: &mut Graph, a: Value, b: Value) -> Result<Value> {
    combine(graph, &[(a, 1.0), (b, -1.0)])
}

/// `factor·a`.
pub fn scale(graph: &mut Graph, a: Value, factor: f32) -> Result<Value> {
    combine(graph, &[(a, factor)])
}

/// A copy of `a` in memory of its own.
pub fn copy(graph: &mut Graph, a: Value) -> Result<Value> {
    combine(graph, &[(a, 1.0)])
}

/// A copy of `a` under another shape of as many elements.
///
/// # Errors
/// [`Error::Shape`] when the number of elements differs.
pub fn copy_as(graph: &mut Graph, a: Value, shape: impl Into<Shape>) -> Result<Value> {
    let shape = shape.into();
    if shape.elements() != graph.shape(a).elements() {
        let problem = format!("{} does not become {shape}", graph.shape(a));
        return Err(Error::shape("elementwise", problem, "keep the number of elements"));
    }
    Ok(graph.push1(Combine { coefficients: vec![1.0] }, &[a], shape))
}

/// Writes `value` into the persistent `state`. Ops traced before see the old contents, ops after it the new ones.
///
/// # Errors
/// [`Error::Shape`] when the number of elements differs.
pub fn assign(graph: &mut Graph, state: Value, value: Value) -> Result<()> {
    if graph.shape(state).elements() != graph.shape(value).elements() {
        let problem = format!("{} into {}", graph.shape(value), graph.shape(state));
        return Err(Error::shape("elementwise", problem, "assign as many elements as the state has"));
    }
    if state != value {
        graph.push(Assign, &[state, value], &[]);
    }
    Ok(())
}

/// `a·b`, element by element.
pub fn mul(graph: &mut Graph, a: Value, b: Value) -> Result<Value> {
    same_shapes(graph, &[a, b])?;
    let shape = graph.shape(a).clone();
    Ok(graph.push1(Mul, &[a, b], shape))
}

fn same_shapes(graph: &Graph, values: &[Value]) -> Result<()> {
    for &v in &values[1..] {
        if graph.shape(v) != graph.shape(values[0]) {
            let problem = format!("{} against {}", graph.shape(values[0]), graph.shape(v));
            return Err(Error::shape("elementwise", problem, "give operands of one shape"));
        }
    }
    Ok(())
}

#[derive(Debug)]
struct Combine {
    coefficients: Vec<f32>,
}

impl Op for Combine {
    fn name(&self) -> &'static str {
        "elementwise"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let terms = self.coefficients.len();
        let launch = flat::elementwise("elementwise/combine.wgsl", io)
            .constant("TERMS", terms)
            .params(factors(&self.coefficients))
            .flops((2 * terms * io.output(0).elements()) as f64);
        vec![Candidate::plain(vec![launch])]
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        node.by_each(|i| {
            let shape = graph.shape(node.inputs[i]).clone();
            match self.coefficients[i] {
                // Only a copy has another shape than its one input.
                1.0 if *graph.shape(grad_y) != shape => copy_as(graph, grad_y, shape),
                1.0 => Ok(grad_y),
                coefficient => scale(graph, grad_y, coefficient),
            }
        })
    }
}

#[derive(Debug)]
struct Mul;

impl Op for Mul {
    fn name(&self) -> &'static str {
        "elementwise"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        vec![Candidate::plain(vec![flat::elementwise("elementwise/mul.wgsl", io)])]
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        node.by_each(|i| mul(graph, grad_y, node.inputs[1 - i]))
    }
}

#[derive(Debug)]
struct Assign;

impl Op for Assign {
    fn name(&self) -> &'static str {
        "elementwise"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let elements = io.input(0).elements();
        let v = lanes(elements);
        let launch = flat("elementwise/combine.wgsl", elements / v)
            .constants(fields! { V: v, TERMS: 1_usize, IN_PLACE: false })
            .read(Operand::Input(1))
            .write(Operand::Input(0))
            .params(factors(&[1.0]));
        vec![Candidate::plain(vec![launch])]
    }

    fn mutates(&self) -> &[usize] {
        &[0]
    }
}
