//! Resampling without a filter: every pixel four times, and the mean of 2x2 blocks.

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::Capabilities;
use crate::graph::{Candidate, Gradients, Graph, Io, Node, Op, Operand, Value};

use super::lanes;
use super::shared::flat::flat;

/// Nearest-neighbour doubling: `n h w c` to `n 2h 2w c`; the authors' `naive_upsample_2d`.
///
/// # Errors
/// [`Error::Shape`] when `x` has not four dimensions.
pub fn upsample_nearest(graph: &mut Graph, x: Value) -> Result<Value> {
    up(graph, x, 1.0)
}

/// The mean of each 2x2 block: `n h w c` to `n h/2 w/2 c`; the authors' `naive_downsample_2d`.
///
/// # Errors
/// [`Error::Shape`] when h or w is odd.
pub fn downsample_mean(graph: &mut Graph, x: Value) -> Result<Value> {
    down(graph, x, 0.25)
}

fn up(graph: &mut Graph, x: Value, gain: f32) -> Result<Value> {
    let [n, h, w, c] = graph.nhwc("resample", x)?;
    Ok(graph.push1(Resample { direction: Direction::Up, gain }, &[x], [n, 2 * h, 2 * w, c]))
}

fn down(graph: &mut Graph, x: Value, gain: f32) -> Result<Value> {
    let [n, h, w, c] = graph.nhwc("resample", x)?;
    if h % 2 != 0 || w % 2 != 0 || h * w == 0 {
        let problem = format!("{h}x{w} pixels do not make blocks of 2x2");
        return Err(Error::shape("resample", problem, "give an even height and width"));
    }
    Ok(graph.push1(Resample { direction: Direction::Down, gain }, &[x], [n, h / 2, w / 2, c]))
}

#[derive(Clone, Copy, Debug)]
enum Direction {
    /// Every pixel four times.
    Up,
    /// The sum over each block of 2x2 pixels.
    Down,
}

/// Either direction, times `gain`; each is the gradient of the other.
#[derive(Debug)]
struct Resample {
    direction: Direction,
    gain: f32,
}

impl Op for Resample {
    fn name(&self) -> &'static str {
        "resample"
    }

    /// One invocation for a block of 2x2 pixels on the large side, which is one pixel on the small side.
    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let (shader, small) = match self.direction {
            Direction::Up => ("resample/up.wgsl", io.input(0).dims()),
            Direction::Down => ("resample/down.wgsl", io.output(0).dims()),
        };
        let v = lanes(small[3]);
        let count = small.iter().product::<usize>() / v;
        vec![Candidate::plain(vec![
            flat(shader, count)
                .constant("V", v)
                .read(Operand::Input(0))
                .write(Operand::Output(0))
                .params(fields! { w: small[2], channels: small[3] / v, gain: self.gain })
                .flops(self.flops(io)),
        ])]
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        node.by_first(|| match self.direction {
            Direction::Up => down(graph, grad_y, self.gain),
            Direction::Down => up(graph, grad_y, self.gain),
        })
    }

    fn flops(&self, io: &Io) -> f64 {
        io.input(0).elements().max(io.output(0).elements()) as f64
    }
}
