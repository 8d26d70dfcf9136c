//! Group normalisation (Wu and He 2018) with its affine map, and SiLU after it where asked for.

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::Capabilities;
use crate::graph::{Candidate, DType, Gradients, Graph, Io, Launch, Node, Op, Operand, Value};

use super::shared::norm::{self, TABLE, Variance, Walk};

/// What is fixed when the op is traced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNorm {
    /// Groups of neighbouring channels.
    pub groups: usize,
    /// Added to the (biased) variance.
    pub norm_eps: f32,
    /// Whether y = silu(norm(x)).
    pub silu: bool,
}

/// `y = (x − mean)/sqrt(variance + norm_eps)·weight + bias`, mean and variance over the pixels and channels of each group of an
/// image; then SiLU where asked for. `x` is `n h w c`, `weight` and `bias` are `c`.
///
/// # Errors
/// [`Error::Shape`] when the channels do not make `groups` groups, or weight or bias has another size.
pub fn group_norm(
    graph: &mut Graph,
    x: Value,
    weight: Value,
    bias: Value,
    options: GroupNorm,
) -> Result<Value> {
    let [n, c] = check(graph, x, weight, bias, options)?;
    let y = (graph.shape(x).clone(), DType::F32);
    Ok(graph.push(Forward(options), &[x, weight, bias], &[y, ([n, 4, c].into(), DType::F32)])[0])
}

/// n and c of operands that fit.
pub(super) fn check(
    graph: &Graph,
    x: Value,
    weight: Value,
    bias: Value,
    options: GroupNorm,
) -> Result<[usize; 2]> {
    let [n, _, _, c] = norm::images(graph, "group_norm", x)?;
    if options.groups == 0 || !c.is_multiple_of(options.groups) {
        let problem = format!("{c} channels do not make {} groups", options.groups);
        return Err(Error::shape("group_norm", problem, "give a divisor of the channels"));
    }
    norm::per_channel(graph, "group_norm", weight, c)?;
    norm::per_channel(graph, "group_norm", bias, c)?;
    Ok([n, c])
}

/// The table `n 4 c` of `shared::norm` alone, for an op that applies the norm itself and whose gradient is [`gradient`]: all that flows to
/// x, weight and bias, what would flow through the table included.
pub(super) fn statistics(
    graph: &mut Graph,
    x: Value,
    weight: Value,
    bias: Value,
    options: GroupNorm,
) -> Result<Value> {
    let [n, c] = check(graph, x, weight, bias, options)?;
    Ok(graph.push1(Statistics(options), &[x, weight, bias], [n, 4, c]))
}

#[derive(Debug)]
struct Statistics(GroupNorm);

impl Op for Statistics {
    fn name(&self) -> &'static str {
        "group_norm"
    }

    fn candidates(&self, io: &Io, device: &Capabilities) -> Vec<Candidate> {
        let GroupNorm { groups, norm_eps, .. } = self.0;
        let affine = Some([Operand::Input(1), Operand::Input(2)]);
        let way = |walk: Walk| {
            let (biased, scratch) = ((Variance::Biased, norm_eps), Operand::Workspace(0));
            let table = Operand::Output(0);
            let launches = norm::statistics(Operand::Input(0), walk, groups, biased, affine, scratch, table);
            walk.candidate(launches.to_vec(), vec![walk.workspace()])
        };
        Walk::of_sums(io.input(0), device).map(way).into()
    }

    fn flops(&self, io: &Io) -> f64 {
        3.0 * io.input(0).elements() as f64
    }
}

/// Outputs: y, and the table `n 4 c` of `shared::norm`.
#[derive(Debug)]
struct Forward(GroupNorm);

impl Op for Forward {
    fn name(&self) -> &'static str {
        "group_norm"
    }

    fn candidates(&self, io: &Io, device: &Capabilities) -> Vec<Candidate> {
        let GroupNorm { groups, norm_eps, silu } = self.0;
        let affine = Some([Operand::Input(1), Operand::Input(2)]);
        let table = Operand::Output(1);
        let from = if io.in_place { Operand::Output(0) } else { Operand::Input(0) };
        let biased = (Variance::Biased, norm_eps);
        let way = |walk: Walk| {
            let [moments, finish] =
                norm::statistics(from, walk, groups, biased, affine, Operand::Workspace(0), table);
            let launches =
                vec![moments, finish, norm::apply(io.output(0), silu, [from, table, Operand::Output(0)])];
            walk.candidate(launches, vec![walk.workspace()])
        };
        Walk::of_sums(io.output(0), device).map(way).into()
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        let affine = [node.inputs[1], node.inputs[2]];
        let operands = [grad_y, node.inputs[0], node.outputs[1]];
        Ok(gradient(graph, self.0, operands, affine, [node.needs[0], node.needs[1], node.needs[2]]).to_vec())
    }

    fn flops(&self, io: &Io) -> f64 {
        10.0 * io.output(0).elements() as f64
    }
}

/// The gradients by x, weight and bias, as far as they are needed; from grad_y, x and the table.
pub(super) fn gradient(
    graph: &mut Graph,
    options: GroupNorm,
    operands: [Value; 3],
    affine: [Value; 2],
    needs: [bool; 3],
) -> [Option<Value>; 3] {
    let (by_x, by_parameters) = (needs[0], needs[1] || needs[2]);
    let mut outputs = Vec::new();
    if by_x {
        outputs.push((graph.shape(operands[1]).clone(), DType::F32));
    }
    if by_parameters {
        outputs.extend(affine.map(|v| (graph.shape(v).clone(), DType::F32)));
    }
    if outputs.is_empty() {
        return [None; 3];
    }
    let made = graph.push(Backward { options, by_x, by_parameters }, &operands, &outputs);
    let parameters = usize::from(by_x);
    [by_x.then(|| made[0]), needs[1].then(|| made[parameters]), needs[2].then(|| made[parameters + 1])]
}

/// The gradients of [`gradient`], in this order.
#[derive(Debug)]
struct Backward {
    options: GroupNorm,
    by_x: bool,
    by_parameters: bool,
}

impl Op for Backward {
    fn name(&self) -> &'static str {
        "group_norm"
    }

    fn candidates(&self, io: &Io, device: &Capabilities) -> Vec<Candidate> {
        let GroupNorm { groups, silu, .. } = self.options;
        let x = io.input(1);
        let way = |walk: Walk| {
            let [partial, sums, gradient] = [0, 1, 2].map(Operand::Workspace);
            let mut launches = norm::sums(io, walk, silu, [partial, sums]).to_vec();
            if self.by_x {
                let (size, count) = (walk.c / groups, walk.n * groups);
                launches.push(
                    Launch::new("group_norm/gradient.wgsl")
                        .read(sums)
                        .read(TABLE)
                        .write(gradient)
                        .params(fields! {
                            channels: walk.c,
                            groups,
                            size,
                            count,
                            share: 1.0 / (walk.pixels * size) as f32,
                        })
                        .grid(count.div_ceil(64), 1, 1),
                );
                launches.push(norm::backward(io, silu, gradient));
            }
            if self.by_parameters {
                let first = usize::from(self.by_x);
                launches.push(
                    Launch::new("group_norm/parameters.wgsl")
                        .read(sums)
                        .read(TABLE)
                        .write(Operand::Output(first))
                        .write(Operand::Output(first + 1))
                        .params(fields! { channels: walk.c, images: walk.n })
                        .grid(walk.c.div_ceil(64), 1, 1),
                );
            }
            let workspaces = vec![walk.workspace(), norm::table_bytes(x, 2), norm::table_bytes(x, 2)];
            walk.candidate(launches, workspaces)
        };
        Walk::of_sums(x, device).map(way).into()
    }

    fn in_place(&self) -> Option<usize> {
        self.by_x.then_some(0)
    }

    fn flops(&self, io: &Io) -> f64 {
        15.0 * io.input(1).elements() as f64
    }
}
