//! Mean and maximum over windows of pixels.

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::Capabilities;
use crate::graph::{Candidate, DType, Gradients, Graph, Io, Launch, Node, Op, Operand, Shape, Value};

use super::lanes;
use super::shared::flat::flat;

/// The windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Side, in pixels.
    pub size: usize,
    /// Distance between two windows.
    pub stride: usize,
    /// Padding on all four sides, at most half of the side.
    pub pad: usize,
}

/// The mean of each window, the padding counted as zeros: `n h w c` to `n h' w' c` with `h' = (h + 2·pad − size)/stride + 1`.
///
/// # Errors
/// [`Error::Shape`] when the image is smaller than a window, or the padding wider than half of one.
pub fn mean_pool(graph: &mut Graph, x: Value, window: Window) -> Result<Value> {
    let shape = pooled(graph, x, window)?;
    let input = graph.shape(x).clone();
    Ok(graph.push1(Pool { window, max: false, input }, &[x], shape))
}

/// The largest number of each window inside the image; of equal ones the first in row-major order has the gradient, as in PyTorch.
///
/// # Errors
/// As [`mean_pool`].
pub fn max_pool(graph: &mut Graph, x: Value, window: Window) -> Result<Value> {
    let shape = pooled(graph, x, window)?;
    let input = graph.shape(x).clone();
    let outputs = [(shape.clone(), DType::F32), (shape, DType::U32)];
    Ok(graph.push(Pool { window, max: true, input }, &[x], &outputs)[0])
}

fn pooled(graph: &Graph, x: Value, window: Window) -> Result<Shape> {
    let [n, h, w, c] = graph.nhwc("pool", x)?;
    let Window { size, stride, pad } = window;
    if stride == 0 || size == 0 || 2 * pad > size || h.min(w) + 2 * pad < size || h.min(w) == 0 {
        let problem = format!("windows of {size}x{size}, {stride} apart, padding {pad}, on {h}x{w} pixels");
        let remedy = "give windows no larger than the padded image, padded by half of their side at most";
        return Err(Error::shape("pool", problem, remedy));
    }
    let out = |side: usize| (side + 2 * pad - size) / stride + 1;
    Ok([n, out(h), out(w), c].into())
}

/// Outputs: y, and with `max` the place of the largest in each window.
#[derive(Clone, Debug)]
struct Pool {
    window: Window,
    max: bool,
    /// Shape of x.
    input: Shape,
}

impl Pool {
    /// A launch over all elements of output 0; its operands follow.
    fn launch(&self, shader: &'static str, io: &Io, pooled: &Shape) -> Launch {
        let Window { size, stride, pad } = self.window;
        let (x, v) = (&self.input, lanes(self.input.last()));
        flat(shader, io.output(0).elements() / v)
            .constants(fields! { V: v, MAX: self.max })
            .params(fields! { h: x[1], w: x[2], out_h: pooled[1], out_w: pooled[2], columns: x[3] / v })
            .params(fields! { size, stride, pad, share: 1.0 / (size * size) as f32 })
            .flops((size * size * pooled.elements()) as f64)
    }
}

impl Op for Pool {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let launch = self.launch("pool/forward.wgsl", io, io.output(0)).read(Operand::Input(0));
        let launch = (0..io.outputs.len()).map(Operand::Output).fold(launch, Launch::write);
        vec![Candidate::plain(vec![launch])]
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        node.by_first(|| {
            let mut inputs = vec![grad_y];
            inputs.extend(&node.outputs[1..]);
            Ok(graph.push1(Backward(self.clone()), &inputs, self.input.clone()))
        })
    }

    fn flops(&self, io: &Io) -> f64 {
        (self.window.size * self.window.size * io.output(0).elements()) as f64
    }
}

/// From grad_y and, with `max`, the places.
#[derive(Debug)]
struct Backward(Pool);

impl Op for Backward {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let launch = self.0.launch("pool/backward.wgsl", io, io.input(0));
        let launch = launch.read_inputs(0..io.inputs.len()).write(Operand::Output(0));
        vec![Candidate::plain(vec![launch])]
    }

    fn flops(&self, io: &Io) -> f64 {
        (self.0.window.size * self.0.window.size * io.input(0).elements()) as f64
    }
}
