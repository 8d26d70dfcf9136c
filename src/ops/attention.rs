//! Self-attention of one head over all positions of an image: `y = softmax(q·kᵀ/√c)·v`.
//!
//! Candidates: `scores` keeps the scores of some images at a time in scratch memory of at most 64 MiB and runs as matrix products,
//! by subgroups, by tiles in workgroup memory, or by neither for every shape; at these widths (c of 128 and more) that is bound by
//! arithmetic, not by the traffic of the scores. `online` never stores scores and takes every shape. The backward pass computes
//! probabilities again from the logarithm of each row's sum.
//!
//! `half` and `cooperative`, taken by name only, are `scores` with the operands of both products rounded to f16. Scores stay f32 until their
//! row's maximum is off; their exponentials, none above 1, are stored in f16. Statistics and sums are f32. Rounding q and k moves a score by
//! some 2⁻¹¹ of its size: a probability by as much where scores are of order 1, by percents where they reach hundreds. Gradients are not for
//! f16, which holds nothing above 65,504 and little below 6e-8.

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::Capabilities;
use crate::graph::{
    Candidate, Class, DType, Gradients, Graph, Io, Launch, Node, Op, OpKey, Operand, Shape, Value,
};

use super::lanes;
use product::{Epilogue, Gemm, Matrix, Mode, Product};

mod product;

/// Scratch memory for the scores, unless one binding may hold less.
const SCORES: u64 = 64 << 20;
/// Queries or keys that a workgroup of the online kernels owns, and positions that it reads at a time.
const BLOCK: usize = 16;
/// Elements across channels that a workgroup of the online kernels owns.
const ACROSS: usize = 64;

/// `softmax(q·kᵀ/√c)·v` for each image; all are `n … c`, the axes between being positions. The result has their shape.
///
/// # Errors
/// [`Error::Shape`] when shapes differ or there are fewer than three axes.
pub fn attention(graph: &mut Graph, q: Value, k: Value, v: Value) -> Result<Value> {
    let shape = graph.shape(q).clone();
    for other in [k, v] {
        if *graph.shape(other) != shape {
            let problem = format!("{shape} against {}", graph.shape(other));
            return Err(Error::shape("attention", problem, "give queries, keys and values of one shape"));
        }
    }
    if shape.rank() < 3 || shape.elements() == 0 {
        return Err(Error::shape("attention", format!("{shape} has no positions"), "give n, positions, c"));
    }
    let size = Size::of(&shape);
    let lse = Shape::from([size.n, size.positions]);
    Ok(graph.push(Attention, &[q, k, v], &[(shape, DType::F32), (lse, DType::F32)])[0])
}

#[derive(Clone, Copy, Debug)]
struct Size {
    n: usize,
    positions: usize,
    c: usize,
}

impl Size {
    fn of(shape: &Shape) -> Self {
        let (n, c) = (shape[0], shape.last());
        Self { n, positions: shape.elements() / (n * c), c }
    }

    /// The identity of an op of this `kind`.
    fn key(self, kind: &'static str) -> OpKey {
        OpKey::new(kind).with(fields! { positions: self.positions, c: self.c }).images(self.n)
    }

    fn scale(self) -> f32 {
        (1.0 / (self.c as f64).sqrt()) as f32
    }

    /// Floating-point operations of one of the products q·kᵀ and p·v of one image.
    fn product(self) -> f64 {
        2.0 * (self.positions * self.positions * self.c) as f64
    }

    /// Bytes of one image's scores.
    fn scores(self) -> u64 {
        4 * (self.positions * self.positions) as u64
    }

    /// Groups of images, (first, count), whose scores fit into the scratch memory; none where not even one image's do.
    fn groups(self, device: &Capabilities) -> Option<Vec<(usize, usize)>> {
        let most = (SCORES.min(device.max_binding) / self.scores()) as usize;
        (most > 0).then(|| (0..self.n).step_by(most).map(|first| (first, most.min(self.n - first))).collect())
    }

    /// A launch of an online kernel: `positions` by channels by images.
    fn online(self, shader: &'static str, products: f64) -> Launch {
        let v = lanes(self.c);
        Launch::new(shader)
            .constant("V", v)
            .params(fields! { positions: self.positions, channels: self.c / v, scale: self.scale() })
            .grid(self.positions.div_ceil(BLOCK), (self.c / v).div_ceil(ACROSS), self.n)
            .flops(products * self.n as f64 * self.product())
    }

    /// An operand of which an image is `positions` rows of `c`, as activations are.
    fn dense(self, operand: Operand) -> Matrix {
        Matrix { operand, first: 0, line: self.c, image: self.positions * self.c, half: false }
    }

    /// The scores of a group of images in scratch memory.
    fn square(self, operand: Operand) -> Matrix {
        let image = self.positions * self.positions;
        Matrix { operand, first: 0, line: self.positions, image, half: false }
    }

    /// Sizes of a product whose result is as large as the scores, and of one whose result is as large as y.
    fn sizes(self, mode: Mode) -> [usize; 3] {
        let Self { positions: s, c, .. } = self;
        if mode == Mode::Nt { [s, s, c] } else { [s, c, s] }
    }
}

/// Inputs q, k, v; outputs y and the logarithm of each row's sum of exponentials.
#[derive(Debug)]
struct Attention;

impl Attention {
    fn scores(size: Size, groups: &[(usize, usize)], gemm: Gemm) -> Candidate {
        let [q, k, v] = [0, 1, 2].map(|i| size.dense(Operand::Input(i)));
        let y = size.dense(Operand::Output(0));
        let scores = size.square(Operand::Workspace(0));
        let factors = Operand::Workspace(1);
        let halves = gemm.arithmetic().is_reduced().then_some(Operand::Workspace(2));
        let weights = halves.map_or(scores, |halves| Matrix { half: true, ..size.square(halves) });
        let mut launches = Vec::new();
        for &(first, images) in groups {
            let product = |mode, epilogue, [a, b, c]: [Matrix; 3]| {
                gemm.launch(Product { mode, epilogue, images, sizes: size.sizes(mode), a, b, c })
            };
            let scale = Epilogue::Scale(size.scale());
            launches.push(product(Mode::Nt, scale, [q.from(first), k.from(first), scores]));
            launches.push(softmax(size, gemm, [first, images], [scores.operand, factors], halves));
            let rows = Epilogue::Rows { rows: (factors, 0) };
            launches.push(product(Mode::Nn, rows, [weights, v.from(first), y.from(first)]));
        }
        let most = groups.first().map_or(0, |g| g.1) as u64;
        let mut workspaces = vec![most * size.scores(), 4 * most * size.positions as u64];
        workspaces.extend(halves.map(|_| most * size.scores() / 2));
        gemm.named(Class::Scores, launches).with_workspaces(workspaces)
    }
}

/// Scores of `images` images from `first` on become exponentials, where they are or as `halves` in f16; the factors make them probabilities.
fn softmax(
    size: Size,
    gemm: Gemm,
    [first, images]: [usize; 2],
    [scores, factors]: [Operand; 2],
    halves: Option<Operand>,
) -> Launch {
    let width = lanes(size.positions);
    let rows = images * size.positions;
    let launch = |shader| {
        let launch = Launch::new(shader).constant("V", width).constant("HALF", halves.is_some());
        let launch = if halves.is_some() { launch.read(scores) } else { launch.write(scores) };
        halves
            .into_iter()
            .fold(launch.write(Operand::Output(1)).write(factors), Launch::write)
            .params(fields! { size: size.positions / width, first: first * size.positions })
            .flops((4 * rows * size.positions) as f64)
    };
    match gemm {
        Gemm::Lanes => {
            launch("attention/softmax_rows.wgsl").params(fields! { rows }).grid(rows.div_ceil(8), 1, 1)
        }
        _ => launch("attention/softmax.wgsl").grid(rows, 1, 1),
    }
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn key(&self, io: &Io) -> OpKey {
        Size::of(io.input(0)).key("attention.forward")
    }

    fn candidates(&self, io: &Io, device: &Capabilities) -> Vec<Candidate> {
        let size = Size::of(io.input(0));
        let online = size
            .online("attention/online.wgsl", 2.0)
            .read(Operand::Input(0))
            .read(Operand::Input(1))
            .read(Operand::Input(2))
            .write(Operand::Output(0))
            .write(Operand::Output(1));
        let online = Candidate::of_class(Class::Online, vec![online]);
        let Some(groups) = size.groups(device) else { return vec![online] };
        let mut gemms = Gemm::all(size.positions, size.c, device);
        gemms.extend(Gemm::reduced(size.positions, size.c, device));
        gemms.into_iter().map(|gemm| Self::scores(size, &groups, gemm)).chain([online]).collect()
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        let shape = graph.shape(grad_y).clone();
        let wants = [node.needs[0], node.needs[1], node.needs[2]];
        let outputs: Vec<_> =
            wants.iter().filter(|&&want| want).map(|_| (shape.clone(), DType::F32)).collect();
        let [y, lse] = [node.outputs[0], node.outputs[1]];
        let inputs = [node.inputs[0], node.inputs[1], node.inputs[2], grad_y, y, lse];
        let mut computed = graph.push(Gradient { wants }, &inputs, &outputs).into_iter();
        Ok(wants.iter().map(|&want| if want { computed.next() } else { None }).collect())
    }

    fn flops(&self, io: &Io) -> f64 {
        let size = Size::of(io.input(0));
        2.0 * size.n as f64 * size.product()
    }
}

/// Inputs q, k, v, grad_y, y, lse; outputs those of grad_q, grad_k, grad_v that are wanted.
#[derive(Debug)]
struct Gradient {
    wants: [bool; 3],
}

impl Gradient {
    /// The output of the gradient by input `i`, if it is wanted.
    fn output(&self, i: usize) -> Option<Operand> {
        let before = self.wants[..i].iter().filter(|&&want| want).count();
        self.wants[i].then_some(Operand::Output(before))
    }

    fn delta(size: Size) -> Launch {
        let v = lanes(size.c);
        let rows = size.n * size.positions;
        Launch::new("attention/delta.wgsl")
            .constant("V", v)
            .read(Operand::Input(4))
            .read(Operand::Input(3))
            .write(Operand::Workspace(0))
            .params(fields! { rows, columns: size.c / v })
            .grid(rows.div_ceil(64), 1, 1)
            .flops((2 * rows * size.c) as f64)
    }

    fn scores(&self, size: Size, groups: &[(usize, usize)], gemm: Gemm) -> Candidate {
        let [q, k, v, grad_y] = [0, 1, 2, 3].map(|i| size.dense(Operand::Input(i)));
        let (lse, delta) = (Operand::Input(5), Operand::Workspace(0));
        let [weights, grad_logits] = [1, 2].map(|i| size.square(Operand::Workspace(i)));
        let by_logits = self.wants[0] || self.wants[1];
        let scale = size.scale();
        let mut launches = vec![Self::delta(size)];
        for &(first, images) in groups {
            let product = |mode, epilogue, [a, b, c]: [Matrix; 3]| {
                gemm.launch(Product { mode, epilogue, images, sizes: size.sizes(mode), a, b, c })
            };
            let row = first * size.positions;
            let epilogue = Epilogue::Probabilities { scale, rows: (lse, row) };
            launches.push(product(Mode::Nt, epilogue, [q.from(first), k.from(first), weights]));
            if by_logits {
                let weights = weights.operand;
                let epilogue = Epilogue::GradLogits { scale, rows: (delta, row), weights };
                launches.push(product(Mode::Nt, epilogue, [grad_y.from(first), v.from(first), grad_logits]));
            }
            let products = [
                (0, Mode::Nn, grad_logits, k),
                (1, Mode::Tn, grad_logits, q),
                (2, Mode::Tn, weights, grad_y),
            ];
            for (i, mode, a, b) in products {
                if let Some(output) = self.output(i) {
                    let c = size.dense(output).from(first);
                    launches.push(product(mode, Epilogue::Scale(1.0), [a, b.from(first), c]));
                }
            }
        }
        let scores = groups.first().map_or(0, |g| g.1) as u64 * size.scores();
        let rows = (4 * size.n * size.positions) as u64;
        let second = if by_logits { scores } else { 0 };
        gemm.named(Class::Scores, launches).with_workspaces(vec![rows, scores, second])
    }

    fn online(&self, size: Size) -> Candidate {
        let bind = |launch: Launch| {
            [0, 1, 2, 3, 5]
                .into_iter()
                .fold(launch, |l, i| l.read(Operand::Input(i)))
                .read(Operand::Workspace(0))
        };
        let mut launches = vec![Self::delta(size)];
        if let Some(grad_q) = self.output(0) {
            launches.push(bind(size.online("attention/online_grad_q.wgsl", 3.0)).write(grad_q));
        }
        if self.wants[1] || self.wants[2] {
            let launch = size
                .online("attention/online_grad_kv.wgsl", 4.0)
                .constants(fields! { WANT_K: self.wants[1], WANT_V: self.wants[2] });
            let outputs = [self.output(1), self.output(2)];
            launches.push(outputs.into_iter().flatten().fold(bind(launch), Launch::write));
        }
        let rows = (4 * size.n * size.positions) as u64;
        Candidate::of_class(Class::Online, launches).with_workspaces(vec![rows])
    }
}

impl Op for Gradient {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn key(&self, io: &Io) -> OpKey {
        let [grad_q, grad_k, grad_v] = self.wants;
        Size::of(io.input(0)).key("attention.gradient").with(fields! { grad_q, grad_k, grad_v })
    }

    fn candidates(&self, io: &Io, device: &Capabilities) -> Vec<Candidate> {
        let size = Size::of(io.input(0));
        let Some(groups) = size.groups(device) else { return vec![self.online(size)] };
        let gemms = Gemm::all(size.positions, size.c, device);
        gemms.into_iter().map(|gemm| self.scores(size, &groups, gemm)).chain([self.online(size)]).collect()
    }

    fn flops(&self, io: &Io) -> f64 {
        let size = Size::of(io.input(0));
        let products = 2 + self.wants.iter().filter(|&&want| want).count();
        products as f64 * size.n as f64 * size.product()
    }
}
