//! Multiply-adds and next to no memory: the peak that benchmarks hold other kernels against.

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::Capabilities;
use crate::graph::{Candidate, Graph, Io, Launch, Op, Operand, Value};

/// Chains of every four elements.
const CHAINS: usize = 16;
/// Multiply-adds of a chain in one turn of the loop.
const UNROLLED: usize = 8;
/// Invocations in a workgroup.
const GROUP: usize = 64;
/// f(a) = a·m + b goes to 2 from wherever it begins, far from overflow and from denormal numbers.
const FACTOR: f32 = 0.75;
/// See [`FACTOR`].
const SUMMAND: f32 = 0.5;

/// `y = Σₖ f(f(…f(x·(k+1)/16)))` over 16 chains k, each `8·turns` times `f(a) = 0.75·a + 0.5`: 256·turns operations an element.
/// Its candidates run 2 to 16 chains side by side; the fastest one is the peak.
///
/// # Errors
/// [`Error::Shape`] unless the elements come in fours; [`Error::Invalid`] above 65,535 turns, which some drivers do not reach.
pub fn multiply_adds(graph: &mut Graph, x: Value, turns: usize) -> Result<Value> {
    let shape = graph.shape(x).clone();
    if !shape.elements().is_multiple_of(4) {
        return Err(Error::shape("peak", format!("{shape} does not come in fours"), "give a multiple of 4"));
    }
    if turns > 65_535 {
        return Err(Error::invalid("turns", turns, "a loop has at most 65535 turns"));
    }
    Ok(graph.push1(MultiplyAdds { turns }, &[x], shape))
}

#[derive(Debug)]
struct MultiplyAdds {
    turns: usize,
}

impl Op for MultiplyAdds {
    fn name(&self) -> &'static str {
        "peak"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let count = io.input(0).elements() / 4;
        let flops = self.flops(io);
        let with = |chains: usize| Candidate {
            variant: format!("chains={chains}"),
            ..Candidate::plain(vec![
                Launch::new("peak/multiply_adds.wgsl")
                    .constant("CHAINS", chains)
                    .read(Operand::Input(0))
                    .write(Operand::Output(0))
                    .params(fields! { count, turns: self.turns, factor: FACTOR, summand: SUMMAND })
                    .grid(count.div_ceil(GROUP), 1, 1)
                    .flops(flops),
            ])
        };
        [8, 16, 4, 2].map(with).into()
    }

    fn flops(&self, io: &Io) -> f64 {
        (2 * CHAINS * UNROLLED * self.turns) as f64 * io.input(0).elements() as f64
    }
}
