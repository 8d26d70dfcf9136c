//! Embeddings of time: Gaussian Fourier features and sinusoidal positions.
//!
//! Their angles reach a thousand radians, where f32 has lost four digits; the kernels reduce them in whole numbers.

use std::f64::consts::TAU;

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::Capabilities;
use crate::graph::{Candidate, Gradients, Graph, Io, Launch, Node, Op, Operand, Value};

/// sin and cos of `2π·x·W` side by side (Tancik et al. 2020): `x` is `n`, `weight` is `m`, the result `n 2m`. The weight is fixed.
///
/// # Errors
/// [`Error::Shape`] when `x` or `weight` is no vector.
pub fn gaussian_fourier(graph: &mut Graph, x: Value, weight: Value) -> Result<Value> {
    fourier(graph, x, weight, false)
}

/// sin and cos of `2π·ln(sigma)·W` side by side: what the authors' models take for a noise level. `sigma` is `n` and positive.
///
/// # Errors
/// As [`gaussian_fourier`].
pub fn gaussian_fourier_log(graph: &mut Graph, sigma: Value, weight: Value) -> Result<Value> {
    fourier(graph, sigma, weight, true)
}

/// sin and cos of `t·10000^(−i/(half − 1))` side by side, i below half = dim/2, followed by a zero if `dim` is odd (Vaswani et
/// al. 2017, as in the authors' code): `t` is `n`, the result `n dim`.
///
/// # Errors
/// [`Error::Shape`] when `t` is no vector, or `dim` is below 4, for which the frequencies are not defined.
pub fn positional(graph: &mut Graph, t: Value, dim: usize) -> Result<Value> {
    positional_shifted(graph, t, dim, 1.0)
}

/// The same with `t·10000^(−i/(half − shift))`; diffusers calls it `freq_shift`.
///
/// # Errors
/// [`Error::Shape`] when `t` is no vector, or half is 0 or not above `shift`.
pub fn positional_shifted(graph: &mut Graph, t: Value, dim: usize, shift: f64) -> Result<Value> {
    let n = vector(graph, t)?;
    let half = dim / 2;
    let span = half as f64 - shift;
    if half == 0 || !(span.is_finite() && span > 0.0) {
        let problem = format!("{dim} numbers have {half} frequencies, which must be more than {shift}");
        return Err(Error::shape("embedding", problem, "give at least four numbers"));
    }
    // In turns, each as the sum of two floats.
    let frequency = |i: usize| (-(10_000_f64.ln()) * i as f64 / span).exp() / TAU;
    let high: Vec<f32> = (0..half).map(|i| frequency(i) as f32).collect();
    let low = (0..half).map(|i| (frequency(i) - f64::from(high[i])) as f32);
    let frequencies: Vec<f32> = high.iter().copied().chain(low).collect();
    let weight = graph.constant("positional frequencies", [2, half], &frequencies);
    Ok(graph.push1(Embedding { log: false, half }, &[t, weight], [n, dim]))
}

fn fourier(graph: &mut Graph, x: Value, weight: Value, log: bool) -> Result<Value> {
    let (n, half) = (vector(graph, x)?, vector(graph, weight)?);
    Ok(graph.push1(Embedding { log, half }, &[x, weight], [n, 2 * half]))
}

fn vector(graph: &Graph, value: Value) -> Result<usize> {
    match graph.shape(value).dims() {
        &[n] if n > 0 => Ok(n),
        _ => {
            let problem = format!("{} is {}", graph.name(value), graph.shape(value));
            Err(Error::shape("embedding", problem, "give one number for each image or frequency"))
        }
    }
}

/// From x and the weight: `half`, or `2 half` whose rows add up.
#[derive(Clone, Debug)]
struct Embedding {
    log: bool,
    half: usize,
}

impl Embedding {
    /// The weight is input `weight`, `width` numbers are given for each image.
    fn launch(&self, shader: &'static str, io: &Io, weight: usize, width: usize) -> Launch {
        let frequencies = io.input(weight).elements() / self.half;
        Launch::new(shader)
            .constants(fields! { LOG: self.log, FREQUENCIES: frequencies })
            .read_inputs(0..io.inputs.len())
            .write(Operand::Output(0))
            .params(fields! { half: self.half, width })
    }
}

impl Op for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let y = io.output(0);
        let launch = self.launch("embedding/forward.wgsl", io, 1, y[1]).grid(self.half.div_ceil(64), y[0], 1);
        vec![Candidate::plain(vec![launch.flops(100.0 * y.elements() as f64)])]
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        if node.needs[1] {
            let problem = "a gradient by the frequencies is asked for, which are fixed";
            return Err(Error::shape("embedding", problem, "leave them out of what is trained"));
        }
        let (x, weight) = (node.inputs[0], node.inputs[1]);
        let shape = graph.shape(x).clone();
        node.by_first(|| Ok(graph.push1(Backward(self.clone()), &[grad_y, x, weight], shape)))
    }
}

/// From grad_y, x and the weight.
#[derive(Debug)]
struct Backward(Embedding);

impl Op for Backward {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let grad_y = io.input(0);
        let launch = self.0.launch("embedding/backward.wgsl", io, 2, grad_y[1]).grid(grad_y[0], 1, 1);
        vec![Candidate::plain(vec![launch.flops(100.0 * grad_y.elements() as f64)])]
    }
}
