//! Self-attention of one head over all positions of an image: `y = softmax(q·kᵀ/√c)·v`.
//!
//! Candidates: `scores` keeps the scores of some images at a time in scratch memory of at most 64 MiB and runs as matrix products,
//! which at these widths (c of 128 and more) is bound by arithmetic, not by the traffic of the scores; `online` never stores
//! scores and takes every shape. The backward pass computes probabilities again from the logarithm of each row's sum.

use crate::error::{Error, Result};
use crate::gpu::Capabilities;
use crate::graph::{Candidate, DType, Graph, Io, Launch, Node, Op, Operand, Shape, Value};

use super::lanes;

/// Scratch memory for the scores, unless one binding may hold less.
const SCORES: u64 = 64 << 20;
/// Rows and columns of a product that a workgroup owns.
const TILE: usize = 64;
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
            .word(self.positions)
            .word(self.c / v)
            .float(self.scale())
            .grid(self.positions.div_ceil(BLOCK), (self.c / v).div_ceil(ACROSS), self.n)
            .flops(products * self.n as f64 * self.product())
    }

    /// A product of a group of images.
    fn gemm(self, mode: Mode, epilogue: Epilogue, images: usize, first: First, scale: f32) -> Launch {
        let Self { positions: s, c, .. } = self;
        let (m, n, k) = if mode == Mode::Nt { (s, s, c) } else { (s, c, s) };
        Launch::new("attention/gemm.wgsl")
            .constant("V", if s.is_multiple_of(4) { lanes(c) } else { 1 })
            .constant("MODE", mode as usize)
            .constant("EPILOGUE", epilogue as usize)
            .word(m)
            .word(n)
            .word(k)
            .word(first.a)
            .word(first.b)
            .word(first.c)
            .word(first.rows)
            .float(scale)
            .grid(n.div_ceil(TILE), m.div_ceil(TILE), images)
            .flops(images as f64 * self.product())
    }
}

/// Which operand of a product stands transposed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Nt,
    Nn,
    Tn,
}

/// What follows a product.
#[derive(Clone, Copy, Debug)]
enum Epilogue {
    Scale,
    Probabilities,
    GradLogits,
}

/// The image with which each operand of a product begins.
#[derive(Clone, Copy, Debug, Default)]
struct First {
    a: usize,
    b: usize,
    c: usize,
    rows: usize,
}

/// Inputs q, k, v; outputs y and the logarithm of each row's sum of exponentials.
#[derive(Debug)]
struct Attention;

impl Attention {
    fn scores(size: Size, groups: &[(usize, usize)]) -> Candidate {
        let [q, k, v] = [0, 1, 2].map(Operand::Input);
        let scores = Operand::Workspace(0);
        let width = lanes(size.positions);
        let mut launches = Vec::new();
        for &(first, images) in groups {
            let begin = First { a: first, b: first, ..First::default() };
            let product = size.gemm(Mode::Nt, Epilogue::Scale, images, begin, size.scale());
            launches.push(product.read(q).read(k).write(scores));
            launches.push(
                Launch::new("attention/softmax.wgsl")
                    .constant("V", width)
                    .write(scores)
                    .write(Operand::Output(1))
                    .word(size.positions / width)
                    .word(first * size.positions)
                    .grid(images * size.positions, 1, 1)
                    .flops((4 * images * size.positions * size.positions) as f64),
            );
            let begin = First { b: first, c: first, ..First::default() };
            let product = size.gemm(Mode::Nn, Epilogue::Scale, images, begin, 1.0);
            launches.push(product.read(scores).read(v).write(Operand::Output(0)));
        }
        let most = groups.first().map_or(0, |g| g.1);
        Candidate { class: "scores", ..Candidate::plain(launches) }
            .with_workspaces(vec![most as u64 * size.scores()])
    }
}

impl Op for Attention {
    fn stem(&self) -> &'static str {
        "attention"
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
        let online = Candidate { class: "online", ..Candidate::plain(vec![online]) };
        let scores = size.groups(device).map(|groups| Self::scores(size, &groups));
        scores.into_iter().chain([online]).collect()
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: Node<'_>,
        grads: &[Option<Value>],
        needs: &[bool],
    ) -> Result<Vec<Option<Value>>> {
        let (Some(grad_y), true) = (grads[0], needs.contains(&true)) else { return Ok(vec![None; 3]) };
        let shape = graph.shape(grad_y).clone();
        let wants = [needs[0], needs[1], needs[2]];
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
            .word(rows)
            .word(size.c / v)
            .grid(rows.div_ceil(64), 1, 1)
            .flops((2 * rows * size.c) as f64)
    }

    fn scores(&self, size: Size, groups: &[(usize, usize)]) -> Candidate {
        let [q, k, v, grad_y, _, lse] = [0, 1, 2, 3, 4, 5].map(Operand::Input);
        let [delta, weights, grad_logits] = [0, 1, 2].map(Operand::Workspace);
        let by_logits = self.wants[0] || self.wants[1];
        let mut launches = vec![Self::delta(size)];
        for &(first, images) in groups {
            let begin = First { a: first, b: first, rows: first, ..First::default() };
            let product = size.gemm(Mode::Nt, Epilogue::Probabilities, images, begin, size.scale());
            launches.push(product.read(q).read(k).read(lse).write(weights));
            if by_logits {
                let product = size.gemm(Mode::Nt, Epilogue::GradLogits, images, begin, size.scale());
                launches.push(product.read(grad_y).read(v).read(delta).read(weights).write(grad_logits));
            }
            let begin = First { b: first, c: first, ..First::default() };
            let products = [
                (0, Mode::Nn, grad_logits, k),
                (1, Mode::Tn, grad_logits, q),
                (2, Mode::Tn, weights, grad_y),
            ];
            for (i, mode, a, b) in products {
                if let Some(output) = self.output(i) {
                    let product = size.gemm(mode, Epilogue::Scale, images, begin, 1.0);
                    launches.push(product.read(a).read(b).write(output));
                }
            }
        }
        let scores = groups.first().map_or(0, |g| g.1) as u64 * size.scores();
        let rows = (4 * size.n * size.positions) as u64;
        let second = if by_logits { scores } else { 0 };
        Candidate { class: "scores", ..Candidate::plain(launches) }
            .with_workspaces(vec![rows, scores, second])
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
                .constant("WANT_K", self.wants[1].into())
                .constant("WANT_V", self.wants[2].into());
            let outputs = [self.output(1), self.output(2)];
            launches.push(outputs.into_iter().flatten().fold(bind(launch), Launch::write));
        }
        let rows = (4 * size.n * size.positions) as u64;
        Candidate { class: "online", ..Candidate::plain(launches) }.with_workspaces(vec![rows])
    }
}

impl Op for Gradient {
    fn stem(&self) -> &'static str {
        "attention"
    }

    fn candidates(&self, io: &Io, device: &Capabilities) -> Vec<Candidate> {
        let size = Size::of(io.input(0));
        let scores = size.groups(device).map(|groups| self.scores(size, &groups));
        scores.into_iter().chain([self.online(size)]).collect()
    }

    fn backward(
        &self,
        _: &mut Graph,
        _: Node<'_>,
        _: &[Option<Value>],
        needs: &[bool],
    ) -> Result<Vec<Option<Value>>> {
        super::no_gradient("attention", needs)
    }

    fn flops(&self, io: &Io) -> f64 {
        let size = Size::of(io.input(0));
        let products = 2 + self.wants.iter().filter(|&&want| want).count();
        products as f64 * size.n as f64 * size.product()
    }
}
