//! Random numbers on the device: Philox4x32-10 (Salmon et al. 2011), a pure function of seed, image, step, purpose and element.
//!
//! The elements of an image are numbered in the order of memory (`h w c`). Element `4b + j` is made of output `j` of the cipher
//! on the counter `(b, image, step, purpose)`; a normal takes the outputs in pairs. So image i of a seed is the same in any batch.

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::Capabilities;
use crate::graph::{Candidate, DType, Graph, Io, Launch, Op, Operand, Shape, Value};

use super::lanes;
use super::shared::flat::flat;

/// Where the random numbers of a plan come from: three values of unsigned integers, so that a replay may change them all.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The seed, low word first: `2` for all images, or `n 2` for a seed of each image.
    pub seed: Value,
    /// Global numbers of the images: `n`.
    pub images: Value,
    /// A counter of steps; its first word counts.
    pub step: Value,
}

/// What numbers are for: streams of different purposes never meet. The upper byte says the kind, the rest which layer, stage or
/// inner step. Data sets use the byte `0xda` on the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Purpose(u32);

impl Purpose {
    /// The starting point of a sampler.
    pub const PRIOR: Self = Self(1 << 24);
    /// The draw of a predictor.
    pub const PREDICTOR: Self = Self(2 << 24);
    /// The draw of a corrector; `at` tells inner steps apart.
    pub const CORRECTOR: Self = Self(3 << 24);
    /// The noise on the known part in inverse problems.
    pub const KNOWN: Self = Self(4 << 24);
    /// Times or noise levels in training.
    pub const TIME: Self = Self(5 << 24);
    /// The perturbation of training images.
    pub const PERTURBATION: Self = Self(6 << 24);
    /// Dropout; `at` tells layers apart.
    pub const DROPOUT: Self = Self(7 << 24);
    /// Uniform dequantisation.
    pub const DEQUANTIZATION: Self = Self(8 << 24);
    /// The probe of a trace estimate.
    pub const PROBE: Self = Self(9 << 24);

    /// The stream of layer, stage or inner step `index` (below 2²⁴) of this purpose.
    pub fn at(self, index: usize) -> Self {
        Self((self.0 & 0xff00_0000) | (index as u32 & 0x00ff_ffff))
    }

    /// The word of the counter.
    pub fn word(self) -> u32 {
        self.0
    }
}

/// Uniform numbers in (0, 1), of 23 bits and a half: neither 0 nor 1 occurs. `shape` begins with n.
///
/// # Errors
/// [`Error::Shape`] when the source does not fit the shape.
pub fn uniform(
    graph: &mut Graph,
    source: Source,
    purpose: Purpose,
    shape: impl Into<Shape>,
) -> Result<Value> {
    draw(graph, source, purpose, shape.into(), Kind::Uniform)
}

/// Standard normal numbers (Box and Muller 1958).
///
/// # Errors
/// As [`uniform`].
pub fn normal(graph: &mut Graph, source: Source, purpose: Purpose, shape: impl Into<Shape>) -> Result<Value> {
    draw(graph, source, purpose, shape.into(), Kind::Normal)
}

/// Rademacher numbers: +1 or −1 with equal chance.
///
/// # Errors
/// As [`uniform`].
pub fn rademacher(
    graph: &mut Graph,
    source: Source,
    purpose: Purpose,
    shape: impl Into<Shape>,
) -> Result<Value> {
    draw(graph, source, purpose, shape.into(), Kind::Sign)
}

fn draw(graph: &mut Graph, source: Source, purpose: Purpose, shape: Shape, kind: Kind) -> Result<Value> {
    source.check(graph, "philox", &shape)?;
    let inputs = [source.seed, source.images, source.step];
    Ok(graph.push1(Philox { kind, purpose }, &inputs, shape))
}

impl Source {
    /// Checks that the source serves tensors of `shape`.
    pub(super) fn check(&self, graph: &Graph, op: &'static str, shape: &Shape) -> Result<()> {
        let n = shape.dims().first().copied().unwrap_or(0);
        let integers = [self.seed, self.images, self.step].iter().all(|&v| graph.dtype(v) == DType::U32);
        let (seed, images, step) = (graph.shape(self.seed), graph.shape(self.images), graph.shape(self.step));
        let seeds = *seed == Shape::from([2]) || *seed == Shape::from([n, 2]);
        if integers && n > 0 && seeds && *images == Shape::from([n]) && step.elements() > 0 {
            return Ok(());
        }
        let problem = format!("seed {seed}, images {images} and step {step} for a tensor {shape}");
        Err(Error::shape(op, problem, "give unsigned integers: seed 2 or n x 2, images n, step 1"))
    }

    /// A launch over blocks of four elements of images `y`, whose random words follow from `seed` and `purpose`; operands follow.
    pub(super) fn launch(shader: &'static str, y: &Shape, seed: &Shape, purpose: Purpose) -> Launch {
        let size = y.elements() / y[0];
        let blocks = size.div_ceil(4);
        // Words from one image's seed to the next one's.
        let seed_stride: usize = if seed.rank() == 2 { 2 } else { 0 };
        flat(shader, y[0] * blocks)
            .constant("V", lanes(size))
            .params(fields! { size, blocks, seed_stride, purpose: purpose.word() })
            // About 400 integer operations for four words.
            .flops(100.0 * y.elements() as f64)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Uniform,
    Normal,
    Sign,
}

#[derive(Debug)]
struct Philox {
    kind: Kind,
    purpose: Purpose,
}

impl Op for Philox {
    fn name(&self) -> &'static str {
        "philox"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let launch = Source::launch("philox/philox.wgsl", io.output(0), io.input(0), self.purpose)
            .constant("KIND", self.kind as usize)
            .read_inputs(0..3)
            .write(Operand::Output(0));
        vec![Candidate::plain(vec![launch])]
    }

    fn flops(&self, io: &Io) -> f64 {
        100.0 * io.output(0).elements() as f64
    }
}
