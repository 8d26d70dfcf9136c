//! The norms of NCSN and NCSNv2 (Song and Ermon 2020): instance norm, its "++" form with or without labels, variance norm.

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::Capabilities;
use crate::graph::{Candidate, DType, Gradients, Graph, Io, Launch, Node, Op, Operand, Shape, Value};

use super::shared::norm::{self, TABLE, Variance, Walk};

/// Added to variances, as in the authors' code.
pub const NORM_EPS: f32 = 1e-5;

/// Instance norm without an affine map: `(x − mean)/sqrt(variance + norm_eps)` of every channel of every image, biased variance.
/// `x` is `n h w c`.
///
/// # Errors
/// [`Error::Shape`] when `x` has not four dimensions.
pub fn instance_norm(graph: &mut Graph, x: Value, norm_eps: f32) -> Result<Value> {
    push(graph, Forward { kind: Kind::Plain, norm_eps }, &[x])
}

/// Instance norm++: `gamma·(instance_norm(x) + alpha·m) + beta`, where m is the mean of the channel, standardised over the channels of
/// the image with the unbiased variance. `x` is `n h w c`; gamma, alpha and beta, if there is one, are `c`.
///
/// # Errors
/// [`Error::Shape`] when a parameter has another size, or there is one channel only.
pub fn instance_norm_plus(
    graph: &mut Graph,
    x: Value,
    gamma: Value,
    alpha: Value,
    beta: Option<Value>,
) -> Result<Value> {
    let c = norm::images(graph, "instance_norm", x)?[3];
    let mut inputs = vec![x, gamma, alpha];
    inputs.extend(beta);
    for &parameter in &inputs[1..] {
        norm::per_channel(graph, "instance_norm", parameter, c)?;
    }
    push(graph, Forward::new(Kind::Plus { bias: beta.is_some() }), &inputs)
}

/// Instance norm++ with parameters of each image: `rows` is `n 3c`, gamma | alpha | beta side by side, or `n 2c` without beta: the
/// rows of an embedding by label.
///
/// # Errors
/// [`Error::Shape`] when `rows` has another shape, or there is one channel only.
pub fn conditional_instance_norm_plus(graph: &mut Graph, x: Value, rows: Value) -> Result<Value> {
    let [n, _, _, c] = norm::images(graph, "instance_norm", x)?;
    let shape = graph.shape(rows);
    let bias = shape.dims() == [n, 3 * c];
    if !bias && shape.dims() != [n, 2 * c] {
        let problem = format!("{} is {shape}, the images are {}", graph.name(rows), graph.shape(x));
        return Err(Error::shape("instance_norm", problem, "give a row of 3c or 2c numbers for each image"));
    }
    push(graph, Forward::new(Kind::Conditional { bias }), &[x, rows])
}

/// Variance norm: `alpha·x/sqrt(variance + 1e-5)` with the unbiased variance of every channel of every image; the mean stays.
/// `x` is `n h w c`, `alpha` is `c`.
///
/// # Errors
/// [`Error::Shape`] when `alpha` has another size, or there is one pixel only.
pub fn variance_norm(graph: &mut Graph, x: Value, alpha: Value) -> Result<Value> {
    let c = norm::images(graph, "instance_norm", x)?[3];
    norm::per_channel(graph, "instance_norm", alpha, c)?;
    push(graph, Forward::new(Kind::Variance), &[x, alpha])
}

fn push(graph: &mut Graph, op: Forward, inputs: &[Value]) -> Result<Value> {
    let [n, h, w, c] = norm::images(graph, "instance_norm", inputs[0])?;
    let alone = match op.kind {
        Kind::Plain => false,
        Kind::Plus { .. } | Kind::Conditional { .. } => c < 2,
        Kind::Variance => h * w < 2,
    };
    if alone {
        let problem = format!("{} has one number to take an unbiased variance of", graph.shape(inputs[0]));
        return Err(Error::shape("instance_norm", problem, "give at least two channels and two pixels"));
    }
    let y = (graph.shape(inputs[0]).clone(), DType::F32);
    Ok(graph.push(op, inputs, &[y, ([n, 4, c].into(), DType::F32)])[0])
}

/// Which norm, and which inputs follow x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// None.
    Plain,
    /// gamma, alpha, beta with `bias`.
    Plus { bias: bool },
    /// Rows of each image.
    Conditional { bias: bool },
    /// alpha.
    Variance,
}

impl Kind {
    /// Numbers per channel in the gradient by one image's parameters.
    fn row(self) -> usize {
        match self {
            Self::Plain => 0,
            Self::Plus { bias } | Self::Conditional { bias } => 2 + usize::from(bias),
            Self::Variance => 1,
        }
    }

    /// Whether every image has parameters of its own.
    fn is_conditional(self) -> bool {
        matches!(self, Self::Conditional { .. })
    }
}

/// `launch`, reading the parameters of InstanceNorm++ from `first` on; beta too with `beta`.
fn with_parameters(launch: Launch, kind: Kind, first: usize, beta: bool) -> Launch {
    let parameters = match kind {
        Kind::Conditional { .. } => 1,
        _ if beta => kind.row(),
        _ => 2,
    };
    launch
        .constants(fields! { CONDITIONAL: kind.is_conditional(), BIAS: kind.row() == 3 })
        .read_inputs(first..first + parameters)
}

/// Outputs: y, and the table `n 4 c` of `shared::norm`.
#[derive(Debug)]
struct Forward {
    kind: Kind,
    norm_eps: f32,
}

impl Forward {
    fn new(kind: Kind) -> Self {
        Self { kind, norm_eps: NORM_EPS }
    }
}

impl Op for Forward {
    fn name(&self) -> &'static str {
        "instance_norm"
    }

    fn candidates(&self, io: &Io, device: &Capabilities) -> Vec<Candidate> {
        let x = io.output(0);
        let from = if io.in_place { Operand::Output(0) } else { Operand::Input(0) };
        let (moments, means, table) = (Operand::Workspace(0), Operand::Workspace(1), Operand::Output(1));
        let (n, c) = (x[0], x.last());
        let variance = if self.kind == Kind::Variance { Variance::Unbiased } else { Variance::Biased };
        let finished = if self.kind == Kind::Plain { table } else { means };
        let variance = (variance, self.norm_eps);
        let way = |walk: Walk| {
            let mut launches = norm::statistics(from, walk, c, variance, None, moments, finished).to_vec();
            match self.kind {
                Kind::Plain => {}
                Kind::Plus { .. } | Kind::Conditional { .. } => {
                    let launch = Launch::new("instance_norm/plus.wgsl").read(means).write(table);
                    let launch = with_parameters(launch, self.kind, 1, true);
                    launches.push(launch.params(fields! { channels: c, eps: NORM_EPS }).grid(n, 1, 1));
                }
                Kind::Variance => launches.push(
                    Launch::new("instance_norm/variance.wgsl")
                        .read(means)
                        .write(table)
                        .read(Operand::Input(1))
                        .params(fields! { channels: c, count: n * c })
                        .grid((n * c).div_ceil(64), 1, 1),
                ),
            }
            launches.push(norm::apply(io.output(0), false, [from, table, Operand::Output(0)]));
            walk.candidate(launches, vec![walk.workspace(), norm::table_bytes(x, 4)])
        };
        Walk::of_sums(x, device).map(way).into()
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        let by_parameters = node.needs[1..].contains(&true);
        let wanted: Vec<bool> =
            (0..node.needs.len()).map(|i| if i == 0 { node.needs[0] } else { by_parameters }).collect();
        let outputs: Vec<(Shape, DType)> = node
            .inputs
            .iter()
            .zip(&wanted)
            .filter(|(_, wanted)| **wanted)
            .map(|(&v, _)| (graph.shape(v).clone(), DType::F32))
            .collect();
        let mut inputs = vec![grad_y, node.inputs[0], node.outputs[1]];
        inputs.extend(&node.inputs[1..]);
        let op = Backward { kind: self.kind, by_x: node.needs[0], by_parameters };
        let mut made = graph.push(op, &inputs, &outputs).into_iter();
        let made: Vec<Option<Value>> =
            wanted.iter().map(|&wanted| if wanted { made.next() } else { None }).collect();
        Ok(made.into_iter().zip(node.needs).map(|(gradient, &need)| gradient.filter(|_| need)).collect())
    }

    fn flops(&self, io: &Io) -> f64 {
        6.0 * io.output(0).elements() as f64
    }
}

/// The gradients by x, and by the parameters, as far as they are asked for; from grad_y, x, the table and the parameters.
#[derive(Debug)]
struct Backward {
    kind: Kind,
    by_x: bool,
    by_parameters: bool,
}

impl Op for Backward {
    fn name(&self) -> &'static str {
        "instance_norm"
    }

    fn candidates(&self, io: &Io, device: &Capabilities) -> Vec<Candidate> {
        let x = io.input(1);
        let (n, c) = (x[0], x.last());
        let [partial, sums, gradient, image_rows] = [0, 1, 2, 3].map(Operand::Workspace);
        let first = usize::from(self.by_x);
        let conditional = self.kind.is_conditional() && self.by_parameters;
        let rows = if conditional { Operand::Output(first) } else { image_rows };
        let way = |walk: Walk| {
            let mut launches = norm::sums(io, walk, false, [partial, sums]).to_vec();
            match self.kind {
                Kind::Plus { .. } | Kind::Conditional { .. } => {
                    let launch = Launch::new("instance_norm/plus_gradient.wgsl")
                        .read(TABLE)
                        .read(sums)
                        .write(gradient)
                        .write(rows);
                    let share = 1.0 / walk.pixels as f32;
                    let launch = with_parameters(launch, self.kind, 3, false);
                    launches.push(launch.params(fields! { channels: c, eps: NORM_EPS, share }).grid(n, 1, 1));
                }
                Kind::Plain | Kind::Variance => {
                    let variance = self.kind == Kind::Variance;
                    let mut launch = Launch::new("instance_norm/gradient.wgsl")
                        .constant("VARIANCE", variance)
                        .read(TABLE)
                        .read(sums)
                        .write(gradient);
                    if variance {
                        launch = launch.write(rows);
                    }
                    let free = walk.pixels - usize::from(variance);
                    let params = fields! { channels: c, count: n * c, share: 1.0 / free as f32 };
                    launches.push(launch.params(params).grid((n * c).div_ceil(64), 1, 1));
                }
            }
            if self.by_x {
                launches.push(norm::backward(io, false, gradient));
            }
            if self.by_parameters && !conditional {
                // Over the images: one parameter after the other out of the rows.
                for i in 0..self.kind.row() {
                    let columns = norm::Columns { width: c, stride: self.kind.row() * c, offset: i * c };
                    launches.push(norm::sum_rows(rows, Operand::Output(first + i), (1, n), columns));
                }
            }
            let row = norm::table_bytes(x, self.kind.row().max(1));
            walk.candidate(
                launches,
                vec![walk.workspace(), norm::table_bytes(x, 2), norm::table_bytes(x, 2), row],
            )
        };
        Walk::of_sums(x, device).map(way).into()
    }

    fn in_place(&self) -> Option<usize> {
        self.by_x.then_some(0)
    }

    fn flops(&self, io: &Io) -> f64 {
        9.0 * io.input(1).elements() as f64
    }
}
