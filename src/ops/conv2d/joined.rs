//! Several dense layers on one input as one product, so that a GPU has enough to do where each alone is small.
//!
//! [`linear_joined`] leaves their outputs side by side in one matrix, of which each reader takes its [`Columns`](super::Columns);
//! [`linear_apart`] gives each an output of its own, and may also run them one after the other, whichever is faster. Their weights stay where
//! they are: they are packed side by side when they have changed.

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::{Capabilities, DeviceKind};
use crate::graph::{Candidate, DType, Gradients, Graph, Io, Node, Op, OpKey, Operand, Shape, Value};
use crate::ops::column_sum::column_sum;
use crate::ops::concat::part;
use crate::ops::elementwise;
use crate::ops::shared::tile::Tile;

use super::forward::dense;
use super::gradient::GradWeight;
use super::kernels::bind::replace;
use super::kernels::gemm::{self, Gemm};
use super::kernels::pack::{self, Region};
use super::kernels::{implicit, plain};
use super::order;
use super::problem::{Conv, NAME, OptionalOperands, Sum, WeightStrides};

/// `cat(x·w_iᵀ + b_i)` over `layers` (w_i `c_i c_in`, b_i `c_i`): x is `rows c_in`, the result `rows Σc_i`. Widths are multiples of 4.
///
/// # Errors
/// [`Error::Shape`] when an operand does not fit.
pub fn linear_joined(graph: &mut Graph, x: Value, layers: &[[Value; 2]]) -> Result<Value> {
    let widths = widths(graph, x, layers, false)?;
    if widths.iter().any(|c| !c.is_multiple_of(4)) {
        let problem = format!("layers of {widths:?} channels are to stand side by side");
        return Err(Error::shape(NAME, problem, "give widths that are multiples of 4"));
    }
    let shape = graph.shape(x).clone();
    let total = widths.iter().sum();
    let op = Joined {
        conv: dense(&shape, total, false, OptionalOperands { bias: true, ..OptionalOperands::default() }),
        widths,
    };
    Ok(graph.push1(op, &operands(x, layers), [shape.elements() / shape.last(), total]))
}

/// `x·w_i + b_i` for each of `layers` (w_i `c_in c`, b_i `c`): x is `… c_in`, the results are `… c`.
///
/// # Errors
/// [`Error::Shape`] when an operand does not fit.
pub fn linear_apart<const N: usize>(
    graph: &mut Graph,
    x: Value,
    layers: [[Value; 2]; N],
) -> Result<[Value; N]> {
    let widths = widths(graph, x, &layers, true)?;
    if widths.iter().any(|&c| c != widths[0]) {
        let problem = format!("layers of {widths:?} channels on one input");
        return Err(Error::shape(NAME, problem, "give layers of one width"));
    }
    let mut shape = graph.shape(x).dims().to_vec();
    let conv = dense(
        graph.shape(x),
        widths[0],
        true,
        OptionalOperands { bias: true, ..OptionalOperands::default() },
    );
    shape.truncate(shape.len() - 1);
    shape.push(widths[0]);
    let outputs = vec![(Shape::from(shape), DType::F32); N];
    let results = graph.push(Apart { conv, parts: N }, &operands(x, &layers), &outputs);
    Ok(std::array::from_fn(|i| results[i]))
}

/// x, the weights, the biases.
fn operands(x: Value, layers: &[[Value; 2]]) -> Vec<Value> {
    let of = |i: usize| layers.iter().map(move |layer| layer[i]);
    [x].into_iter().chain(of(0)).chain(of(1)).collect()
}

/// The output channels of each layer.
fn widths(graph: &Graph, x: Value, layers: &[[Value; 2]], input_first: bool) -> Result<Vec<usize>> {
    let shape = graph.shape(x);
    if shape.rank() < 2 || layers.is_empty() {
        let problem = format!("{} layers on {shape}", layers.len());
        return Err(Error::shape(NAME, problem, "give layers and rows of channels"));
    }
    let width = |&[weight, bias]: &[Value; 2]| {
        let (w, b) = (graph.shape(weight), graph.shape(bias));
        let (taken, given) = match *w.dims() {
            [c_in, c_out] if input_first => (c_in, c_out),
            [c_out, c_in] => (c_in, c_out),
            _ => (0, 0),
        };
        match taken == shape.last() && b.elements() == given && given > 0 {
            true => Ok(given),
            false => {
                let problem = format!("a layer of the weight {w} and the bias {b} on {shape}");
                Err(Error::shape(NAME, problem, "give weights that take the input, and their biases"))
            }
        }
    };
    layers.iter().map(width).collect()
}

/// Where each of some widths begins.
fn starts(widths: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    widths.iter().scan(0, |next, &width| {
        let first = *next;
        *next += width;
        Some((first, width))
    })
}

/// `candidate` of a sum whose weight (input 1) and bias (input 2) are the packed ones of layers of `widths`.
fn with_packed(sum: &Sum, widths: &[usize], mut candidate: Candidate) -> Candidate {
    let count = widths.len();
    let element = if candidate.arithmetic.is_reduced() { 2 } else { 4 };
    let rows = pack::rows(sum);
    // A kernel that packs nothing reads the weight as it would be packed.
    let columns = candidate.prepared.first().map_or(sum.c_out, |bytes| *bytes as usize / (element * rows));
    candidate.prepared = vec![(element * rows * columns) as u64];
    candidate.prepare.clear();
    for (i, (first, width)) in starts(widths).enumerate() {
        let own = Sum { c_out: width, ..*sum };
        // Behind the last layer, zeros fill the row.
        let filled = if i + 1 == count { columns - first } else { width };
        let region = Region { first, line: columns, width: filled };
        let operands = [Operand::Input(1 + i), Operand::Prepared(0)];
        candidate.prepare.push(pack::part(&own, operands, region, element as u64));
    }
    if sum.optional.bias {
        candidate.prepared.push(4 * sum.c_out as u64);
        for (i, (first, width)) in starts(widths).enumerate() {
            let operands = [Operand::Input(1 + count + i), Operand::Prepared(1)];
            candidate.prepare.push(pack::vector(operands, first, width));
        }
    }
    replace(&mut candidate.launches, |operand| match operand {
        Operand::Input(1) => Operand::Prepared(0),
        Operand::Input(2) => Operand::Prepared(1),
        other => other,
    });
    candidate
}

/// The identity of an op over layers of `widths`, as `conv` would have it.
fn key(conv: &Conv, kind: &'static str, widths: &[usize]) -> OpKey {
    widths.iter().fold(conv.key(kind), |key, &width| key.with(fields! { width }))
}

#[derive(Debug)]
struct Joined {
    /// As if there were one layer, as wide as all of them.
    conv: Conv,
    widths: Vec<usize>,
}

impl Op for Joined {
    fn name(&self) -> &'static str {
        NAME
    }

    fn key(&self, _: &Io) -> OpKey {
        key(&self.conv, "conv2d.joined", &self.widths)
    }

    fn candidates(&self, _: &Io, device: &Capabilities) -> Vec<Candidate> {
        let sum = self.conv.sum();
        let packed = Sum { strides: WeightStrides::packed(sum.c_out), ..sum };
        let all = order::of_sum(&sum, device).into_iter().chain([plain::candidate(&packed, false)]);
        all.map(|candidate| with_packed(&sum, &self.widths, candidate)).collect()
    }

    fn flops(&self, io: &Io) -> f64 {
        self.conv.flops(io)
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        let mut result = vec![None; node.needs.len()];
        let count = self.widths.len();
        let (weights, biases) = (1..1 + count, 1 + count..1 + 2 * count);
        let x = node.inputs[0];
        if node.needs[0] {
            let inputs: Vec<Value> = [grad_y].iter().chain(&node.inputs[weights.clone()]).copied().collect();
            let op = JoinedGradInput { conv: self.conv.clone(), widths: self.widths.clone() };
            let shape = graph.shape(x).clone();
            result[0] = Some(graph.push1(op, &inputs, shape));
        }
        // All layers at once, and then each one's part of it.
        let mut parts = |graph: &mut Graph, at: std::ops::Range<usize>, all: Value, c: usize| -> Result<()> {
            for (i, (first, _)) in at.zip(starts(&self.widths)).filter(|(i, _)| node.needs[*i]) {
                let shape = graph.shape(node.inputs[i]).clone();
                result[i] = Some(part(graph, all, first * c, shape)?);
            }
            Ok(())
        };
        if node.needs[weights.clone()].contains(&true) {
            let op = GradWeight { conv: self.conv.clone() };
            let all = graph.push1(op, &[grad_y, x], [self.conv.c_out, self.conv.c1]);
            parts(graph, weights, all, self.conv.c1)?;
        }
        if node.needs[biases.clone()].contains(&true) {
            let all = column_sum(graph, grad_y, 1)?;
            parts(graph, biases, all, 1)?;
        }
        Ok(result)
    }
}

/// The gradient by the input of joined layers: a sum over all their outputs.
#[derive(Debug)]
struct JoinedGradInput {
    conv: Conv,
    widths: Vec<usize>,
}

impl Op for JoinedGradInput {
    fn name(&self) -> &'static str {
        NAME
    }

    fn key(&self, _: &Io) -> OpKey {
        key(&self.conv, "conv2d.joined_grad_input", &self.widths)
    }

    fn candidates(&self, _: &Io, device: &Capabilities) -> Vec<Candidate> {
        let Conv { c1, c_out, .. } = self.conv;
        // Inputs and outputs change places; each weight has rows of c1.
        let sum = Sum {
            c1: c_out,
            c_out: c1,
            strides: WeightStrides::packed(c1),
            optional: OptionalOperands::default(),
            ..self.conv.sum()
        };
        let packed = |mut candidate: Candidate| {
            let columns = candidate.prepared.first().map_or(c1, |bytes| *bytes as usize / (4 * c_out));
            candidate.prepared = vec![(4 * c_out * columns) as u64];
            let region = |first| Region { first: first * columns, line: columns, width: columns };
            candidate.prepare = starts(&self.widths)
                .enumerate()
                .map(|(i, (first, width))| {
                    let own = Sum { c1: width, ..sum };
                    pack::part(&own, [Operand::Input(1 + i), Operand::Prepared(0)], region(first), 4)
                })
                .collect();
            replace(&mut candidate.launches, |operand| match operand {
                Operand::Input(1) => Operand::Prepared(0),
                other => other,
            });
            candidate
        };
        // Gradients are not for f16 (see `GradInput`).
        let candidates =
            order::of_sum(&sum, device).into_iter().filter(|candidate| !candidate.arithmetic.is_reduced());
        candidates.chain([plain::candidate(&sum, false)]).map(packed).collect()
    }

    fn flops(&self, io: &Io) -> f64 {
        self.conv.flops(io)
    }
}

#[derive(Debug)]
struct Apart {
    /// One of the layers.
    conv: Conv,
    parts: usize,
}

impl Apart {
    /// All layers as one product, whose kernels put each column where it belongs.
    fn at_once(&self, device: &Capabilities) -> Vec<Candidate> {
        let own = self.conv.sum();
        if !own.in_fours() {
            return Vec::new();
        }
        let optional = OptionalOperands { more_outputs: self.parts - 1, ..own.optional };
        let sum = Sum { c_out: self.parts * own.c_out, optional, ..own };
        let by = |gemm| gemm::candidate(&sum, gemm);
        let reduced = Tile::reduced(device).into_iter().map(Gemm::Tile);
        let products = Gemm::all(device, [1, sum.pixels(), sum.c_out]).into_iter().filter_map(by);
        let all = products.chain(implicit::split(&sum)).chain(reduced.filter_map(by));
        let widths = vec![own.c_out; self.parts];
        all.map(|mut candidate| {
            candidate.variant = format!("{} at once", candidate.variant).trim_start().to_owned();
            with_packed(&sum, &widths, candidate)
        })
        .collect()
    }

    /// A candidate of one layer alone, for each of the layers in turn.
    fn in_turn(&self, candidate: Candidate) -> Candidate {
        let count = self.parts;
        let mut all = Candidate {
            prepared: Vec::new(),
            prepare: Vec::new(),
            launches: Vec::new(),
            ..candidate.clone()
        };
        for i in 0..count {
            let (mut own, before) = (candidate.clone(), all.prepared.len());
            let place = |operand| match operand {
                Operand::Input(1) => Operand::Input(1 + i),
                Operand::Input(2) => Operand::Input(1 + count + i),
                Operand::Output(0) => Operand::Output(i),
                Operand::Prepared(p) => Operand::Prepared(before + p),
                other => other,
            };
            replace(&mut own.prepare, place);
            replace(&mut own.launches, place);
            all.prepared.extend(own.prepared);
            all.prepare.extend(own.prepare);
            all.launches.extend(own.launches);
        }
        all
    }
}

impl Op for Apart {
    fn name(&self) -> &'static str {
        NAME
    }

    fn key(&self, _: &Io) -> OpKey {
        self.conv.key("conv2d.apart").with(fields! { parts: self.parts })
    }

    fn candidates(&self, _: &Io, device: &Capabilities) -> Vec<Candidate> {
        let sum = self.conv.sum();
        let in_turn = order::of_sum(&sum, device).into_iter().map(|candidate| self.in_turn(candidate));
        // On a processor that plays a GPU each layer alone keeps all cores at work, and its weights fit the cache.
        let mut all: Vec<Candidate> = match device.kind {
            DeviceKind::Software => in_turn.chain(self.at_once(device)).collect(),
            _ => self.at_once(device).into_iter().chain(in_turn).collect(),
        };
        all.push(self.in_turn(plain::candidate(&sum, false)));
        all
    }

    fn flops(&self, io: &Io) -> f64 {
        self.parts as f64 * self.conv.flops(io)
    }

    fn backward_all(&self, graph: &mut Graph, node: Node<'_>, grads: &[Option<Value>]) -> Result<Gradients> {
        let mut result = vec![None; node.needs.len()];
        for (i, grad) in grads.iter().enumerate().filter_map(|(i, grad)| Some((i, (*grad)?))) {
            let at = [0, 1 + i, 1 + self.parts + i];
            let inputs = at.map(|at| node.inputs[at]);
            let needs = at.map(|at| node.needs[at]);
            let own = Node { inputs: &inputs, outputs: &node.outputs[i..=i], needs: &needs };
            let computed = self.conv.backward(graph, own, grad)?;
            for (at, gradient) in at.into_iter().zip(computed) {
                result[at] = match (result[at], gradient) {
                    (Some(before), Some(gradient)) => Some(elementwise::add(graph, before, gradient)?),
                    (before, gradient) => before.or(gradient),
                };
            }
        }
        Ok(result)
    }
}
