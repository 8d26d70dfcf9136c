//! Bilinear resizing with aligned corners.

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::Capabilities;
use crate::graph::{Candidate, Gradients, Graph, Io, Node, Op, Operand, Shape, Value};

use super::lanes;
use super::shared::flat::flat;

/// Longest side, so that a place times a side fits into 31 bits.
const LONGEST: usize = 32_768;

/// `x` resized from `n h w c` to `n h' w' c`, the outermost pixels of both images coinciding: PyTorch's `interpolate` with
/// `align_corners=True`.
///
/// # Errors
/// [`Error::Shape`] when a side is 0 or longer than 32,768 pixels.
pub fn bilinear(graph: &mut Graph, x: Value, [out_h, out_w]: [usize; 2]) -> Result<Value> {
    let [n, h, w, c] = graph.nhwc("bilinear", x)?;
    if [h, w, out_h, out_w].iter().any(|side| !(1..=LONGEST).contains(side)) {
        let problem = format!("{h}x{w} pixels to {out_h}x{out_w}");
        return Err(Error::shape("bilinear", problem, "give sides between 1 and 32768 pixels"));
    }
    Ok(graph.push1(Forward, &[x], [n, out_h, out_w, c]))
}

/// A launch over all elements of the output; `x` and `y` are the shapes of both images.
fn candidate(shader: &'static str, io: &Io, x: &Shape, y: &Shape) -> Candidate {
    let v = lanes(x.last());
    let launch = flat(shader, io.output(0).elements() / v)
        .constant("V", v)
        .read(Operand::Input(0))
        .write(Operand::Output(0))
        .params(fields! { h: x[1], w: x[2], out_h: y[1], out_w: y[2], columns: x[3] / v })
        .flops(8.0 * x.elements().max(y.elements()) as f64);
    Candidate::plain(vec![launch])
}

#[derive(Debug)]
struct Forward;

impl Op for Forward {
    fn name(&self) -> &'static str {
        "bilinear"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        vec![candidate("bilinear/forward.wgsl", io, io.input(0), io.output(0))]
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        let shape = graph.shape(node.inputs[0]).clone();
        node.by_first(|| Ok(graph.push1(Backward, &[grad_y], shape)))
    }

    fn flops(&self, io: &Io) -> f64 {
        8.0 * io.output(0).elements() as f64
    }
}

/// From grad_y.
#[derive(Debug)]
struct Backward;

impl Op for Backward {
    fn name(&self) -> &'static str {
        "bilinear"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        vec![candidate("bilinear/backward.wgsl", io, io.output(0), io.input(0))]
    }

    fn flops(&self, io: &Io) -> f64 {
        8.0 * io.input(0).elements() as f64
    }
}
