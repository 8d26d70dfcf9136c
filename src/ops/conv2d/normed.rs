//! A convolution of normalised images that nobody else reads: `y = conv2d(f(group_norm(x)))`, f being SiLU or nothing.
//!
//! What stands between the two is no value of the graph: Winograd's first stage makes it of what it loads, or it is written to scratch
//! memory in front of any kernel, whichever is faster. The gradient makes it once more, from the table of statistics, rather than keep it.

use crate::error::Result;
use crate::fields;
use crate::gpu::{Capabilities, DeviceKind};
use crate::graph::{Candidate, Class, Gradients, Graph, Io, Node, Op, OpKey, Operand, Shape, Value};
use crate::ops::group_norm::{self, GroupNorm, group_norm};
use crate::ops::shared::norm;

use super::forward::{Epilogue, conv2d};
use super::gradient::GradInput;
use super::kernels::winograd::Normalisation;
use super::kernels::{bind, plain};
use super::order::{self, FEW};
use super::problem::{Conv, Conv2d, NAME};

/// What stands before the sum.
#[derive(Clone, Copy, Debug)]
pub struct Prologue {
    /// `c_in`: factor of each channel.
    pub weight: Value,
    /// `c_in`: summand of each channel.
    pub bias: Value,
    /// Groups, and whether SiLU follows.
    pub norm: GroupNorm,
}

/// `conv2d(group_norm(x))`: `x` is `n h w c_in`, `weight` `c_out c_in kh kw`. Where no kernel gains by it, two ops of their own.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) when an operand does not fit.
pub fn norm_conv2d(
    graph: &mut Graph,
    x: Value,
    prologue: Prologue,
    weight: Value,
    geometry: Conv2d,
    epilogue: Epilogue,
) -> Result<Value> {
    let Prologue { weight: factor, bias: summand, norm } = prologue;
    let (mut conv, shape) = Conv::checked(graph, x, None, weight, geometry, epilogue.scale)?;
    if !conv.may_normalise() {
        let h = group_norm(graph, x, factor, summand, norm)?;
        return conv2d(graph, h, None, weight, geometry, epilogue);
    }
    let table = group_norm::statistics(graph, x, factor, summand, norm)?;
    let mut inputs = conv.operands(graph, x, None, weight, epilogue, &shape)?;
    inputs.extend([factor, summand, table]);
    Ok(graph.push1(Normed { conv, norm }, &inputs, shape))
}

impl Conv {
    /// Whether Winograd is what one would choose, whose first stage can normalise.
    fn may_normalise(&self) -> bool {
        self.is_winograd() && self.c1 >= FEW && self.c_out >= FEW
    }
}

/// `candidates` of an op behind a launch that writes all of x normalised, and `inside`, those that normalise what they load, in the written order.
fn in_order(
    device: &Capabilities,
    candidates: Vec<Candidate>,
    inside: Vec<Candidate>,
    [x, table]: [Operand; 2],
    (shape, silu): (&Shape, bool),
) -> Vec<Candidate> {
    let bytes = 4 * shape.elements() as u64;
    let written = |candidate| bind::after(candidate, x, bytes, |to| norm::apply(shape, silu, [x, table, to]));
    let mut all: Vec<Candidate> = candidates.into_iter().map(written).collect();
    let inside = inside.into_iter().map(|candidate| {
        let variant = candidate.name();
        Candidate { class: Class::Prologue, variant, ..candidate }
    });
    // Each pixel lies in 2.25 tiles. A processor would rather load once more than take 2.25 exponentials; a GPU has arithmetic to spare.
    let at = if device.kind == DeviceKind::Software { all.len() - 1 } else { 0 };
    all.splice(at..at, inside);
    all
}

/// Inputs are the convolution's, then weight and bias of the norm, which only the gradient needs, and the table of statistics.
#[derive(Debug)]
struct Normed {
    conv: Conv,
    norm: GroupNorm,
}

impl Op for Normed {
    fn name(&self) -> &'static str {
        NAME
    }

    fn key(&self, _: &Io) -> OpKey {
        self.conv.key("conv2d.normalised").with(fields! { silu: self.norm.silu })
    }

    fn candidates(&self, io: &Io, device: &Capabilities) -> Vec<Candidate> {
        let (sum, silu) = (self.conv.sum(), self.norm.silu);
        let [x, table] = [0, io.inputs.len() - 1].map(Operand::Input);
        let mut candidates = order::of_sum(&sum, device);
        candidates.push(plain::candidate(&sum, false));
        let inside = order::of_normalised(&sum, device, Normalisation { table, silu });
        in_order(device, candidates, inside, [x, table], (io.input(0), silu))
    }

    fn flops(&self, io: &Io) -> f64 {
        self.conv.flops(io)
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        let mut result = vec![None; node.needs.len()];
        let last = node.needs.len() - 1;
        let (x, weight, table) = (node.inputs[0], node.inputs[1], node.inputs[last]);
        let at = [0, last - 2, last - 1];
        if at.iter().any(|&i| node.needs[i]) {
            let op = GradInput { conv: self.conv.clone(), first: 0, c: self.conv.c1 };
            let shape = graph.shape(x).clone();
            let grad_h = graph.push1(op, &[grad_y, weight], shape);
            let affine = [node.inputs[last - 2], node.inputs[last - 1]];
            let needed = at.map(|i| node.needs[i]);
            let computed = group_norm::gradient(graph, self.norm, [grad_h, x, table], affine, needed);
            at.into_iter().zip(computed).for_each(|(i, gradient)| result[i] = gradient);
        }
        if node.needs[1] {
            let op = NormedGradWeight { conv: self.conv.clone(), silu: self.norm.silu };
            let shape = graph.shape(weight).clone();
            result[1] = Some(graph.push1(op, &[grad_y, x, table], shape));
        }
        self.conv.grad_epilogue(graph, node, grad_y, &mut result)?;
        Ok(result)
    }
}

/// The gradient by the weight, from grad_y, x and the table.
#[derive(Debug)]
struct NormedGradWeight {
    conv: Conv,
    silu: bool,
}

impl Op for NormedGradWeight {
    fn name(&self) -> &'static str {
        NAME
    }

    fn key(&self, _: &Io) -> OpKey {
        self.conv.key("conv2d.normalised_grad_weight").with(fields! { silu: self.silu })
    }

    fn candidates(&self, io: &Io, device: &Capabilities) -> Vec<Candidate> {
        let [x, table] = [1, 2].map(Operand::Input);
        let candidates = order::of_grad_weight(&self.conv, device);
        let inside =
            order::of_normalised_grad_weight(&self.conv, device, Normalisation { table, silu: self.silu });
        in_order(device, candidates, inside, [x, table], (io.input(1), self.silu))
    }

    fn flops(&self, io: &Io) -> f64 {
        self.conv.flops(io)
    }
}
