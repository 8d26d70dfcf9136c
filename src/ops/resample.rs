//! Resampling without a filter: every pixel four times, and the mean of 2x2 blocks.

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::Capabilities;
use crate::graph::{Candidate, Graph, Io, Node, Op, Operand, Value};

use super::lanes;
use super::shared::flat::flat;
use super::shared::gradient::by_first;

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
    Ok(graph.push1(Up { gain }, &[x], [n, 2 * h, 2 * w, c]))
}

fn down(graph: &mut Graph, x: Value, gain: f32) -> Result<Value> {
    let [n, h, w, c] = graph.nhwc("resample", x)?;
    if h % 2 != 0 || w % 2 != 0 || h * w == 0 {
        let problem = format!("{h}x{w} pixels do not make blocks of 2x2");
        return Err(Error::shape("resample", problem, "give an even height and width"));
    }
    Ok(graph.push1(Down { gain }, &[x], [n, h / 2, w / 2, c]))
}

/// The launch of either kernel: one invocation for a block of 2x2 pixels on the large side.
fn candidate(shader: &'static str, io: &Io, small: &[usize], gain: f32) -> Candidate {
    let v = lanes(small[3]);
    let count = small.iter().product::<usize>() / v;
    Candidate::plain(vec![
        flat(shader, count)
            .constant("V", v)
            .read(Operand::Input(0))
            .write(Operand::Output(0))
            .params(fields! { w: small[2], channels: small[3] / v, gain })
            .flops(io.output(0).elements() as f64),
    ])
}

/// `y = gain·x`, every pixel four times.
#[derive(Debug)]
struct Up {
    gain: f32,
}

impl Op for Up {
    fn name(&self) -> &'static str {
        "resample"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        vec![candidate("resample/up.wgsl", io, io.input(0).dims(), self.gain)]
    }

    fn backward(
        &self,
        graph: &mut Graph,
        _: Node<'_>,
        grads: &[Option<Value>],
        needs: &[bool],
    ) -> Result<Vec<Option<Value>>> {
        by_first(grads, needs, |grad_y| down(graph, grad_y, self.gain))
    }
}

/// `y = gain·Σ` over each block of 2x2 pixels.
#[derive(Debug)]
struct Down {
    gain: f32,
}

impl Op for Down {
    fn name(&self) -> &'static str {
        "resample"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        vec![candidate("resample/down.wgsl", io, io.output(0).dims(), self.gain)]
    }

    fn backward(
        &self,
        graph: &mut Graph,
        _: Node<'_>,
        grads: &[Option<Value>],
        needs: &[bool],
    ) -> Result<Vec<Option<Value>>> {
        by_first(grads, needs, |grad_y| up(graph, grad_y, self.gain))
    }

    fn flops(&self, io: &Io) -> f64 {
        io.input(0).elements() as f64
    }
}
