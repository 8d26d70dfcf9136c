//! Dropout (Srivastava et al. 2014). The mask is drawn again in the backward pass, never stored.

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::Capabilities;
use crate::graph::{Candidate, Gradients, Graph, Io, Node, Op, Operand, Value};

use super::philox::{Purpose, Source};

/// Sets each element of `x` (n first) to 0 with probability `rate` and divides the others by `1 − rate`. The mask follows from
/// `source` and `layer`; a rate of 0 gives `x` itself.
///
/// # Errors
/// [`Error::Invalid`] when the rate is not in [0, 1), [`Error::Shape`] when the source does not fit `x`.
pub fn dropout(graph: &mut Graph, x: Value, rate: f64, source: Source, layer: usize) -> Result<Value> {
    if !(0.0..1.0).contains(&rate) {
        return Err(Error::invalid("dropout", rate, "give a rate from 0 to below 1"));
    }
    if rate == 0.0 {
        return Ok(x);
    }
    let shape = graph.shape(x).clone();
    source.check(graph, "dropout", &shape)?;
    let op = Dropout { rate, purpose: Purpose::DROPOUT.at(layer) };
    Ok(graph.push1(op, &[x, source.seed, source.images, source.step], shape))
}

/// An element stays where its word is at least this; off by 2⁻³³ at most.
fn threshold(rate: f64) -> u32 {
    (rate * f64::from(u32::MAX)).round() as u32
}

#[derive(Clone, Debug)]
struct Dropout {
    rate: f64,
    purpose: Purpose,
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let scale = (1.0 / (1.0 - self.rate)) as f32;
        let launch = Source::launch("dropout/dropout.wgsl", io.output(0), io.input(1), self.purpose)
            .read_inputs(1..4)
            .read_or_in_place(io)
            .write(Operand::Output(0))
            .params(fields! { threshold: threshold(self.rate), scale });
        vec![Candidate::plain(vec![launch])]
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        node.by_first(|| {
            let shape = graph.shape(grad_y).clone();
            let inputs = [grad_y, node.inputs[1], node.inputs[2], node.inputs[3]];
            Ok(graph.push1(self.clone(), &inputs, shape))
        })
    }

    fn flops(&self, io: &Io) -> f64 {
        // The cipher's integer operations, as in philox.
        100.0 * io.output(0).elements() as f64
    }
}
