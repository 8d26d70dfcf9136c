//! Adam (Kingma and Ba 2015) as PyTorch and the authors use it: warm-up, clipping, L2 weight decay and the moving average of the
//! parameters in one pass over each segment. What changes from step to step is counted and computed on the device.

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::Capabilities;
use crate::graph::{Candidate, DType, Graph, Io, Launch, Op, Operand, Shape, Value};

use super::clip::GlobalNorm;
use super::shared::flat::flat;
use super::{ema, lanes};

/// Words of the counters: steps, updates, steps skipped.
pub const COUNTERS: usize = 3;
/// Numbers of a step: skip, clip coefficient, corrected rate, correction of the second moment, 1 − EMA decay.
const SCHEDULE: usize = 5;

/// The optimizer's settings, under the authors' names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate after warm-up.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Factor of the parameter in the gradient (L2, after clipping).
    pub weight_decay: f64,
    /// Steps over which the rate grows from 0; the first step, number 0, has rate 0 unless this is 0.
    pub warmup: u64,
    /// Largest global norm; negative is off.
    pub grad_clip: f64,
    /// Decay of the moving average; it warms up as min(rate, (1 + n)/(10 + n)).
    pub ema_rate: f64,
}

/// One segment of everything that a step reads and writes, all of one shape.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Parameters.
    pub param: Value,
    /// First moments.
    pub m: Value,
    /// Second moments.
    pub v: Value,
    /// Moving average.
    pub shadow: Option<Value>,
    /// Gradients.
    pub grad: Value,
}

/// Appends one step over all segments. `counters` is a state of [`COUNTERS`] unsigned integers: steps (what warm-up counts, from 0),
/// updates (what bias corrections and the moving average count), and steps skipped because a gradient was not finite. A skipped
/// step leaves parameters, moments and average as they are.
///
/// # Errors
/// [`Error::Invalid`] for a setting outside its range, [`Error::Shape`] when tensors of a segment differ in shape.
pub fn adam(
    graph: &mut Graph,
    settings: &Adam,
    segments: &[Segment],
    norm: GlobalNorm,
    counters: Value,
) -> Result<()> {
    settings.check()?;
    if graph.dtype(counters) != DType::U32 || graph.shape(counters).elements() != COUNTERS {
        let problem = format!("the counters are {}", graph.shape(counters));
        return Err(Error::shape("adam", problem, format!("give {COUNTERS} unsigned integers")));
    }
    for s in segments {
        let all = [Some(s.m), Some(s.v), s.shadow, Some(s.grad)];
        for other in all.into_iter().flatten() {
            if graph.shape(other) != graph.shape(s.param) {
                let problem = format!(
                    "{} is {}, {} is {}",
                    graph.name(s.param),
                    graph.shape(s.param),
                    graph.name(other),
                    graph.shape(other)
                );
                return Err(Error::shape("adam", problem, "lay out all of a segment's tensors alike"));
            }
        }
    }
    let inputs = [counters, norm.norm, norm.nonfinite];
    let outputs = [(Shape::from([SCHEDULE]), DType::F32)];
    let schedule = graph.push(Schedule { settings: *settings }, &inputs, &outputs)[0];
    for s in segments {
        let all = [Some(s.param), Some(s.m), Some(s.v), s.shadow, Some(s.grad), Some(schedule)];
        let inputs: Vec<Value> = all.into_iter().flatten().collect();
        graph.push(Update { settings: *settings, ema: s.shadow.is_some() }, &inputs, &[]);
    }
    Ok(())
}

impl Adam {
    fn check(&self) -> Result<()> {
        let wrong = |name: &str, value: f64, problem: &str| Err(Error::invalid(name, value, problem));
        match *self {
            Self { lr, .. } if !lr.is_finite() || lr < 0.0 => wrong("lr", lr, "give 0 or more"),
            Self { beta1, .. } if !(0.0..1.0).contains(&beta1) => wrong("beta1", beta1, "give 0 to below 1"),
            Self { beta2, .. } if !(0.0..1.0).contains(&beta2) => wrong("beta2", beta2, "give 0 to below 1"),
            // Below the smallest normal f32 it would be 0, and a parameter without a gradient NaN.
            Self { eps, .. } if !eps.is_finite() || eps < f64::from(f32::MIN_POSITIVE) => {
                wrong("eps", eps, "give more than 1.2e-38")
            }
            Self { weight_decay, .. } if !weight_decay.is_finite() => {
                wrong("weight_decay", weight_decay, "give a finite number")
            }
            Self { grad_clip, .. } if grad_clip.is_nan() => wrong("grad_clip", grad_clip, "give a number"),
            _ => ema::check_rate(self.ema_rate),
        }
    }
}

/// ln β, which f32 holds to a relative 6e-8 where β itself would lose 1 − β; far below any exponent for β = 0.
fn log_of(beta: f64) -> f32 {
    beta.ln().max(-1e30) as f32
}

#[derive(Debug)]
struct Schedule {
    settings: Adam,
}

impl Op for Schedule {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn candidates(&self, _: &Io, _: &Capabilities) -> Vec<Candidate> {
        let s = &self.settings;
        let launch = Launch::new("adam/schedule.wgsl")
            .write(Operand::Input(0))
            .read(Operand::Input(1))
            .read(Operand::Input(2))
            .write(Operand::Output(0))
            .params(fields! {
                lr: s.lr as f32,
                warmup: s.warmup as f32,
                grad_clip: s.grad_clip as f32,
                ln_beta1: log_of(s.beta1),
                ln_beta2: log_of(s.beta2),
                rest: (1.0 - s.ema_rate) as f32,
            });
        vec![Candidate::plain(vec![launch])]
    }

    fn mutates(&self) -> &[usize] {
        &[0]
    }
}

#[derive(Debug)]
struct Update {
    settings: Adam,
    ema: bool,
}

impl Op for Update {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let s = &self.settings;
        let elements = io.input(0).elements();
        let v = lanes(elements);
        let written = self.mutates().len();
        let launch = flat("adam/update.wgsl", elements / v).constants(fields! { V: v, EMA: self.ema });
        let launch = (0..written)
            .map(Operand::Input)
            .fold(launch, Launch::write)
            .read_inputs(written..io.inputs.len())
            .params(fields! {
                beta1: s.beta1 as f32,
                rest1: (1.0 - s.beta1) as f32,
                beta2: s.beta2 as f32,
                rest2: (1.0 - s.beta2) as f32,
                eps: s.eps as f32,
                weight_decay: s.weight_decay as f32,
            })
            .flops(self.flops(io));
        vec![Candidate::plain(vec![launch])]
    }

    fn mutates(&self) -> &[usize] {
        if self.ema { &[0, 1, 2, 3] } else { &[0, 1, 2] }
    }

    fn flops(&self, io: &Io) -> f64 {
        16.0 * io.input(0).elements() as f64
    }

    fn bytes(&self, io: &Io) -> f64 {
        let tensors = 2 * self.mutates().len() + 1;
        (tensors as u64 * io.inputs[0].bytes()) as f64
    }
}
