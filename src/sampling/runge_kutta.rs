//! Embedded Runge-Kutta methods with the step-size control of scipy's `solve_ivp`, which the authors use.
//!
//! A method is its [`Tableau`]; those of this library stand in [`solvers`](super::solvers), a file each. The controller is f64 on
//! the CPU. The state lives behind [`OdeState`]: the controller asks for an attempted step and reads one scalar, the error norm. A state
//! may have several parts that know nothing of each other, such as the images of a batch: each has a controller of its own, and all are
//! evaluated together. [`VecState`] keeps the state on the CPU in f64.
//!
//! Source: Hairer, Nørsett and Wanner, Solving Ordinary Differential Equations I, II.4 (the first step and the controller).

use std::future::Future;

use crate::gpu::blocking;
use crate::{Error, Result};

/// An embedded Runge-Kutta pair: the coefficients of the stages, of the new state and of the error estimate.
///
/// A step of size h from (t, y) takes the slopes k_i = f(t + c_i·h, y + h Σ_j a_ij·k_j), gives y + h Σ_j b_j·k_j, and takes one more
/// slope there, the first of the next step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tableau {
    /// Its usual name, such as `RK45`.
    pub name: &'static str,
    /// Order of the new state.
    pub order: usize,
    /// Order of the embedded solution, from which the error is estimated.
    pub error_order: usize,
    /// c: the times of the stages in units of h. The first is 0.
    pub c: &'static [f64],
    /// a: row i has the factors of the slopes before stage i.
    pub a: &'static [&'static [f64]],
    /// b: a factor for each stage.
    pub b: &'static [f64],
    /// The error estimate is h Σ_j e_j·k_j over the stages and the slope at the end of the step.
    pub e: &'static [f64],
}

impl Tableau {
    /// Slopes of a step: one for each stage and one at its end.
    pub const fn slopes(&self) -> usize {
        self.b.len() + 1
    }

    /// Evaluations of an attempted step; the first slope is known.
    pub const fn evaluations(&self) -> usize {
        self.b.len()
    }

    /// The step that meets the tolerance scales with error to this power.
    fn exponent(&self) -> f64 {
        -1.0 / (self.error_order + 1) as f64
    }
}

const SAFETY: f64 = 0.9;
const MIN_FACTOR: f64 = 0.2;
const MAX_FACTOR: f64 = 10.0;

/// The scale against which an element's error is measured: `atol` + `rtol`·|y|.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Relative to the element.
    pub rtol: f64,
    /// Absolute.
    pub atol: f64,
}

impl Tolerance {
    /// Fails unless both are finite and 0 or above, and one is not 0. As in scipy, `rtol` is raised to 100 times the unit roundoff.
    pub fn new(rtol: f64, atol: f64) -> Result<Self> {
        for (name, value) in [("rtol", rtol), ("atol", atol)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::invalid(name, value, "a tolerance is a finite number, 0 or above"));
            }
        }
        if rtol == 0.0 && atol == 0.0 {
            return Err(Error::invalid(
                "rtol and atol",
                0,
                "no step is free of error: one of them has to be above 0",
            ));
        }
        Ok(Self { rtol: rtol.max(100.0 * f64::EPSILON), atol })
    }

    /// The scale for an element of magnitude `y`.
    pub fn scale(&self, y: f64) -> f64 {
        self.atol + y * self.rtol
    }
}

/// RMS norms at the start, over all elements, of values divided by [`Tolerance::scale`] of |y|.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StartNorms {
    /// Of the state.
    pub y: f64,
    /// Of its slope.
    pub slope: f64,
}

/// From t to t + h.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The time of the present state.
    pub t: f64,
    /// How far; 0 for a part that rests.
    pub h: f64,
}

/// A state y with y′ = f(t, y), its slopes and the outcome of an attempted step, wherever they are kept. It has one or several
/// parts: steps are given, and norms are returned, one for each. What works on the device is awaited.
pub trait OdeState {
    /// Parts, each with norms over its own elements.
    fn parts(&self) -> usize;

    /// Takes the slope at (t, y): one evaluation. Also done after the state was replaced from outside.
    fn start_async(&mut self, t: f64, tolerance: Tolerance) -> impl Future<Output = Result<Vec<StartNorms>>>;

    /// The RMS norms of (f(t+h, y+h·slope) − slope) / scale(|y|): one evaluation; the state stays.
    fn probe_async(&mut self, steps: &[Step], tolerance: Tolerance)
    -> impl Future<Output = Result<Vec<f64>>>;

    /// Computes the state at t + h and its slope beside the present ones, [`Tableau::evaluations`]. Returns the RMS norms of
    /// the error estimate over scale(max(|y|, |y_new|)).
    fn attempt_async(
        &mut self,
        method: &Tableau,
        steps: &[Step],
        tolerance: Tolerance,
    ) -> impl Future<Output = Result<Vec<f64>>>;

    /// The attempted state and slope become the present ones, in the parts that are named.
    fn accept_async(&mut self, parts: &[bool]) -> impl Future<Output = Result<()>>;
}

/// How a solve went, for one part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OdeReport {
    /// Where it ended: the asked time, unless `step_too_small`.
    pub t: f64,
    /// Evaluations of f: 2 to choose the first step, [`Tableau::evaluations`] for each attempted step.
    pub nfe: usize,
    /// Steps taken.
    pub accepted: usize,
    /// Steps tried and thrown away.
    pub rejected: usize,
    /// The step fell below the spacing of f64 times at `t`.
    pub step_too_small: bool,
}

impl OdeReport {
    /// The report of a solve that reached its end, or the error that says why it did not.
    pub fn reached_end(self) -> Result<Self> {
        if self.step_too_small {
            return Err(Error::invalid(
                "the ODE's step size",
                format!("0 at t = {}", self.t),
                format!(
                    "after {} accepted and {} rejected steps no step meets the tolerance: the vector field is not \
                     finite or too rough there; raise rtol and atol, or end at a larger t_eps",
                    self.accepted, self.rejected
                ),
            ));
        }
        Ok(self)
    }
}

/// Integrates `state` by `method` from `t0` to `t1`, which may lie before `t0`. `observe` is called after each round of attempts in which a
/// step was accepted, with the time of the part that is farthest from `t1`. The first step of a part that becomes too small ends
/// the solve without an error; see [`OdeReport::reached_end`]. Gives a report for each part.
pub async fn solve_async<S: OdeState + ?Sized>(
    state: &mut S,
    method: &Tableau,
    t0: f64,
    t1: f64,
    tolerance: Tolerance,
    mut observe: impl AsyncFnMut(f64, &S) -> Result<()>,
) -> Result<Vec<OdeReport>> {
    check_times(t0, t1)?;
    let start = OdeReport { t: t0, nfe: 0, accepted: 0, rejected: 0, step_too_small: false };
    if t0 == t1 {
        return Ok(vec![start; state.parts()]);
    }
    let first = first_steps(state, method, t0, t1, tolerance).await?;
    let start = OdeReport { nfe: 2, ..start };
    let controller = |h_abs| Controller { t1, report: start, h_abs, tried: t0, rejected_before: false };
    let mut parts: Vec<Controller> = first.into_iter().map(controller).collect();
    while parts.iter().any(|part| !part.is_done()) {
        let steps: Vec<Step> = parts.iter_mut().map(Controller::propose).collect();
        if parts.iter().any(|part| part.report.step_too_small) {
            break;
        }
        let errors = state.attempt_async(method, &steps, tolerance).await?;
        let accepted: Vec<bool> =
            parts.iter_mut().zip(errors).map(|(part, error)| part.judge(method, error)).collect();
        if accepted.contains(&true) {
            state.accept_async(&accepted).await?;
            let left = |part: &&Controller| (t1 - part.report.t).abs();
            let farthest = parts.iter().max_by(|a, b| left(a).total_cmp(&left(b)));
            observe(farthest.map_or(t1, |part| part.report.t), state).await?;
        }
    }
    Ok(parts.into_iter().map(|part| part.report).collect())
}

/// [`solve_async`], blocking the thread.
///
/// # Errors
/// As [`solve_async`].
pub fn solve<S: OdeState + ?Sized>(
    state: &mut S,
    method: &Tableau,
    t0: f64,
    t1: f64,
    tolerance: Tolerance,
    mut observe: impl FnMut(f64, &S) -> Result<()>,
) -> Result<Vec<OdeReport>> {
    blocking(solve_async(state, method, t0, t1, tolerance, async |t, state: &S| observe(t, state)))
}

/// The sizes of a part's steps.
struct Controller {
    t1: f64,
    report: OdeReport,
    h_abs: f64,
    /// The time to which a step was attempted.
    tried: f64,
    rejected_before: bool,
}

impl Controller {
    fn is_done(&self) -> bool {
        self.report.t == self.t1
    }

    /// The next step to attempt; none from the end on, or when it would be too small, which the report says.
    fn propose(&mut self) -> Step {
        let (t, t1) = (self.report.t, self.t1);
        if self.is_done() {
            return Step { t, h: 0.0 };
        }
        let direction = (t1 - t).signum();
        let spacing = if direction > 0.0 { t.next_up() - t } else { t - t.next_down() };
        let min_step = 10.0 * spacing;
        if !self.rejected_before {
            self.h_abs = self.h_abs.max(min_step);
        }
        if self.h_abs < min_step {
            self.report.step_too_small = true;
            return Step { t, h: 0.0 };
        }
        let past = direction * (t + self.h_abs * direction - t1) > 0.0;
        self.tried = if past { t1 } else { t + self.h_abs * direction };
        let h = self.tried - t;
        self.h_abs = h.abs();
        Step { t, h }
    }

    /// Whether the step that was proposed is accepted; says how large the next one is.
    fn judge(&mut self, method: &Tableau, error: f64) -> bool {
        if self.is_done() {
            return false;
        }
        self.report.nfe += method.evaluations();
        // A norm that is not a number counts as an error without bound.
        if error < 1.0 {
            let growth = if error == 0.0 { MAX_FACTOR } else { SAFETY * error.powf(method.exponent()) };
            self.h_abs *= growth.min(if self.rejected_before { 1.0 } else { MAX_FACTOR });
            self.report.t = self.tried;
            self.report.accepted += 1;
            self.rejected_before = false;
            return true;
        }
        self.h_abs *= (SAFETY * error.powf(method.exponent())).max(MIN_FACTOR);
        self.report.rejected += 1;
        self.rejected_before = true;
        false
    }
}

/// `n` equal steps without error control, for orders of convergence and for runs of a known length.
/// Returns the number of evaluations.
pub fn fixed_steps<S: OdeState + ?Sized>(
    state: &mut S,
    method: &Tableau,
    t0: f64,
    t1: f64,
    n: usize,
) -> Result<usize> {
    check_times(t0, t1)?;
    // The error norm is not used; any valid tolerance does.
    let tolerance = Tolerance { rtol: 1.0, atol: 1.0 };
    let at = |i: usize| t0 + (t1 - t0) * (i as f64 / n as f64);
    blocking(async {
        state.start_async(t0, tolerance).await?;
        for i in 0..n {
            let step = Step { t: at(i), h: at(i + 1) - at(i) };
            state.attempt_async(method, &vec![step; state.parts()], tolerance).await?;
            state.accept_async(&vec![true; state.parts()]).await?;
        }
        Ok(1 + method.evaluations() * n)
    })
}

fn check_times(t0: f64, t1: f64) -> Result<()> {
    for t in [t0, t1] {
        if !t.is_finite() {
            return Err(Error::invalid("t", t, "an ODE is integrated between finite times"));
        }
    }
    Ok(())
}

/// scipy's `select_initial_step` for each part. Two evaluations.
async fn first_steps<S: OdeState + ?Sized>(
    state: &mut S,
    method: &Tableau,
    t0: f64,
    t1: f64,
    tolerance: Tolerance,
) -> Result<Vec<f64>> {
    let interval = (t1 - t0).abs();
    let norms = state.start_async(t0, tolerance).await?;
    if !norms.iter().all(|norms| norms.y.is_finite() && norms.slope.is_finite()) {
        // No step size can help, and each attempt costs evaluations.
        return Err(Error::NonFinite { tensor: "the ODE's state or slope at its start".into(), step: 0 });
    }
    let h0 = |&StartNorms { y: d0, slope: d1 }: &StartNorms| {
        let h0 = if d0 < 1e-5 || d1 < 1e-5 { 1e-6 } else { 0.01 * d0 / d1 };
        h0.min(interval)
    };
    let direction = (t1 - t0).signum();
    let probes: Vec<Step> = norms.iter().map(|norms| Step { t: t0, h: h0(norms) * direction }).collect();
    let changes = state.probe_async(&probes, tolerance).await?;
    let first = |(norms, change): (&StartNorms, f64)| {
        let (h0, d1) = (h0(norms), norms.slope);
        let d2 = change / h0;
        let h1 = if d1 <= 1e-15 && d2 <= 1e-15 {
            (h0 * 1e-3).max(1e-6)
        } else {
            (0.01 / d1.max(d2)).powf(-method.exponent())
        };
        (100.0 * h0).min(h1).min(interval)
    };
    Ok(norms.iter().zip(changes).map(first).collect())
}

/// A state of one part in f64 on the CPU; `F` is called as f(t, y, slope) and writes the slope.
#[derive(Debug, Clone)]
pub struct VecState<F> {
    f: F,
    y: Vec<f64>,
    y_new: Vec<f64>,
    /// Two for the choice of the first step; as many as the method has from the first attempt on.
    slopes: Vec<Vec<f64>>,
    stage: Vec<f64>,
}

impl<F: FnMut(f64, &[f64], &mut [f64])> VecState<F> {
    /// The state `y` that obeys `f`.
    pub fn new(y: Vec<f64>, f: F) -> Self {
        let n = y.len();
        Self { f, y, y_new: vec![0.0; n], slopes: vec![vec![0.0; n]; 2], stage: vec![0.0; n] }
    }

    /// The present state.
    pub fn y(&self) -> &[f64] {
        &self.y
    }
}

/// Σ_j weights[j]·slopes[j][i], for as many slopes as there are; weights beyond them are 0.
///
/// The terms are fused and grouped by four, two and one as scipy's linear algebra does it: close to a singularity the
/// last bits of these sums decide the digits of the state, and so they can be compared.
fn combine(slopes: &[Vec<f64>], weights: &[f64], i: usize) -> f64 {
    let mut sum = 0.0;
    let mut at = 0;
    for size in [4, 2, 1] {
        while slopes.len() - at >= size {
            let (k, w) = (&slopes[at..at + size], &weights[at..at + size]);
            sum += match size {
                1 => k[0][i] * w[0],
                _ => (2..size).fold(k[0][i].mul_add(w[0], k[1][i] * w[1]), |s, j| k[j][i].mul_add(w[j], s)),
            };
            at += size;
        }
    }
    sum
}

fn rms(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    // An empty state has no error.
    let n = values.len().max(1) as f64;
    values.fold(0.0, |sum: f64, v| v.mul_add(v, sum)).sqrt() / n.sqrt()
}

impl<F: FnMut(f64, &[f64], &mut [f64])> OdeState for VecState<F> {
    fn parts(&self) -> usize {
        1
    }

    async fn start_async(&mut self, t: f64, tolerance: Tolerance) -> Result<Vec<StartNorms>> {
        let Self { f, y, slopes, .. } = self;
        f(t, y, &mut slopes[0]);
        let scaled = |v: &[f64]| rms(v.iter().zip(y.iter()).map(|(v, y)| v / tolerance.scale(y.abs())));
        Ok(vec![StartNorms { y: scaled(y), slope: scaled(&slopes[0]) }])
    }

    async fn probe_async(&mut self, steps: &[Step], tolerance: Tolerance) -> Result<Vec<f64>> {
        let Step { t, h } = steps[0];
        let Self { f, y, slopes, stage, .. } = self;
        let (first, rest) = slopes.split_at_mut(1);
        for ((s, y), k) in stage.iter_mut().zip(y.iter()).zip(&first[0]) {
            *s = y + h * k;
        }
        f(t + h, stage, &mut rest[0]);
        let change = first[0].iter().zip(&rest[0]).zip(y.iter());
        Ok(vec![rms(change.map(|((a, b), y)| (b - a) / tolerance.scale(y.abs())))])
    }

    async fn attempt_async(
        &mut self,
        method: &Tableau,
        steps: &[Step],
        tolerance: Tolerance,
    ) -> Result<Vec<f64>> {
        let Step { t, h } = steps[0];
        let Self { f, y, y_new, slopes, stage } = self;
        slopes.resize(method.slopes(), vec![0.0; y.len()]);
        for (i, (c, a)) in method.c.iter().zip(method.a).enumerate().skip(1) {
            let (done, next) = slopes.split_at_mut(i);
            for (j, s) in stage.iter_mut().enumerate() {
                *s = y[j] + combine(done, a, j) * h;
            }
            f(t + c * h, stage, &mut next[0]);
        }
        let (done, last) = slopes.split_at_mut(method.evaluations());
        for (j, new) in y_new.iter_mut().enumerate() {
            *new = y[j] + h * combine(done, method.b, j);
        }
        f(t + h, y_new, &mut last[0]);
        let error =
            |j: usize| combine(slopes, method.e, j) * h / tolerance.scale(y[j].abs().max(y_new[j].abs()));
        Ok(vec![rms((0..y.len()).map(error))])
    }

    async fn accept_async(&mut self, parts: &[bool]) -> Result<()> {
        debug_assert_eq!(parts, [true]);
        std::mem::swap(&mut self.y, &mut self.y_new);
        let last = self.slopes.len() - 1;
        self.slopes.swap(0, last);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
