//! Exponential moving average of parameters, as the authors' `ExponentialMovingAverage`. `adam` does the same in its own pass.

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::Capabilities;
use crate::graph::{Candidate, DType, Graph, Io, Op, Operand, Value};

use super::lanes;
use super::shared::flat::flat;

/// Moves `shadow` (persistent) towards `x` of the same shape: `shadow −= (1 − decay)·(shadow − x)`. With `updates`, unsigned integers
/// whose first word is the number n of this update, from 1, `decay = min(rate, (1 + n)/(10 + n))`; else it is `rate`.
///
/// # Errors
/// [`Error::Shape`] when shapes differ, [`Error::Invalid`] when the rate is not in [0, 1].
pub fn ema(graph: &mut Graph, shadow: Value, x: Value, rate: f64, updates: Option<Value>) -> Result<()> {
    if graph.shape(shadow) != graph.shape(x) {
        let problem = format!("{} against {}", graph.shape(shadow), graph.shape(x));
        return Err(Error::shape("ema", problem, "give an average of the parameters' shape"));
    }
    if updates.is_some_and(|u| graph.dtype(u) != DType::U32 || graph.shape(u).elements() == 0) {
        return Err(Error::shape(
            "ema",
            "the counter of updates holds no integers",
            "give unsigned integers",
        ));
    }
    check_rate(rate)?;
    let inputs: Vec<Value> = [Some(shadow), Some(x), updates].into_iter().flatten().collect();
    graph.push(Ema { rate }, &inputs, &[]);
    Ok(())
}

/// Refuses decay rates outside [0, 1].
pub(super) fn check_rate(rate: f64) -> Result<()> {
    if (0.0..=1.0).contains(&rate) {
        return Ok(());
    }
    Err(Error::invalid("ema_rate", rate, "give a decay from 0 to 1"))
}

#[derive(Debug)]
struct Ema {
    rate: f64,
}

impl Op for Ema {
    fn name(&self) -> &'static str {
        "ema"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let elements = io.input(0).elements();
        let v = lanes(elements);
        let warm = io.inputs.len() == 3;
        let launch = flat("ema/ema.wgsl", elements / v)
            .constants(fields! { V: v, WARM: warm })
            .write(Operand::Input(0))
            .read_inputs(1..io.inputs.len())
            .params(fields! { rest: (1.0 - self.rate) as f32 })
            .flops(self.flops(io));
        vec![Candidate::plain(vec![launch])]
    }

    fn mutates(&self) -> &[usize] {
        &[0]
    }

    fn flops(&self, io: &Io) -> f64 {
        3.0 * io.input(0).elements() as f64
    }

    fn bytes(&self, io: &Io) -> f64 {
        3.0 * io.inputs[0].bytes() as f64
    }
}
