//! The global norm of gradients, for clipping as PyTorch's `clip_grad_norm_`, and the watch for NaN and infinity.

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::Capabilities;
use crate::graph::{Candidate, DType, Graph, Io, Launch, Op, Operand, Shape, Value};

use super::{FLAT, lanes};

/// Most elements that an invocation adds up before the tree.
const TURNS: usize = 64;

/// What is known of all gradients together; the optimizer reads it on the device.
#[derive(Clone, Copy, Debug)]
pub struct GlobalNorm {
    /// The L2 norm over all finite elements: `1`.
    pub norm: Value,
    /// How many elements are NaN or infinite, one more where the sum of squares overflows: `1`, unsigned integers.
    pub nonfinite: Value,
}

/// The norm over whole segments of gradients; the zeros between tensors add nothing.
///
/// # Errors
/// [`Error::Shape`] when there are no segments.
pub fn global_norm(graph: &mut Graph, segments: &[Value]) -> Result<GlobalNorm> {
    if segments.is_empty() || segments.iter().any(|&s| graph.shape(s).elements() == 0) {
        let problem = format!("{} segments, some empty", segments.len());
        return Err(Error::shape("clip", problem, "give at least one segment with elements"));
    }
    let one = Shape::from([1]);
    let results = graph.push(Norm, segments, &[(one.clone(), DType::F32), (one, DType::U32)]);
    Ok(GlobalNorm { norm: results[0], nonfinite: results[1] })
}

#[derive(Debug)]
struct Norm;

impl Op for Norm {
    fn name(&self) -> &'static str {
        "clip"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let mut launches = Vec::new();
        let mut parts = 0;
        for (i, input) in io.inputs.iter().enumerate() {
            let elements = input.shape.elements();
            let v = lanes(elements);
            let turns = (elements / v).div_ceil(FLAT).min(TURNS);
            let own = (elements / v).div_ceil(FLAT * turns);
            let launch = Launch::new("clip/squares.wgsl")
                .constant("V", v)
                .read(Operand::Input(i))
                .write(Operand::Workspace(0))
                .write(Operand::Workspace(1))
                .params(fields! { size: elements / v, turns, first: parts })
                .grid(own, 1, 1)
                .flops(2.0 * elements as f64);
            launches.push(launch);
            parts += own;
        }
        launches.push(
            Launch::new("clip/norm.wgsl")
                .read(Operand::Workspace(0))
                .read(Operand::Workspace(1))
                .write(Operand::Output(0))
                .write(Operand::Output(1))
                .params(fields! { parts }),
        );
        vec![Candidate::plain(launches).with_workspaces(vec![4 * parts as u64; 2])]
    }

    fn flops(&self, io: &Io) -> f64 {
        io.inputs.iter().map(|t| 2.0 * t.shape.elements() as f64).sum()
    }
}
