//! `ode`: the probability-flow ODE by an adaptive Runge-Kutta method, RK45 of Dormand and Prince 1980 as in the authors' code.

use super::{Entry, Problem, Solver, SolverOptions, SolverRun, coupled};
use crate::error::Result;
use crate::ops::sampler_step::Norm;
use crate::sampling::flow::FlowOptions;
use crate::sampling::runge_kutta::{Tableau, Tolerance};

/// In the list of solvers.
pub const ENTRY: Entry = Entry {
    name: "ode",
    help: "the probability-flow ODE by adaptive RK45",
    evaluations: "six an attempted step, as many steps as the tolerance takes",
    takes: AdaptiveOde::TAKES,
    from_options: |o: &SolverOptions| Ok(Box::new(AdaptiveOde::from_options(ENTRY.name, &RK45, o))),
};

/// Dormand and Prince's method of order 5 with an embedded one of order 4 (Dormand and Prince 1980, table 2).
pub const RK45: Tableau = Tableau {
    name: "RK45",
    order: 5,
    error_order: 4,
    c: &[0.0, 1.0 / 5.0, 3.0 / 10.0, 4.0 / 5.0, 8.0 / 9.0, 1.0],
    a: &[
        &[],
        &[1.0 / 5.0],
        &[3.0 / 40.0, 9.0 / 40.0],
        &[44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0],
        &[19372.0 / 6561.0, -25360.0 / 2187.0, 64448.0 / 6561.0, -212.0 / 729.0],
        &[9017.0 / 3168.0, -355.0 / 33.0, 46732.0 / 5247.0, 49.0 / 176.0, -5103.0 / 18656.0],
    ],
    b: &[35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0],
    e: &[-71.0 / 57600.0, 0.0, 71.0 / 16695.0, -71.0 / 1920.0, 17253.0 / 339200.0, -22.0 / 525.0, 1.0 / 40.0],
};

/// The probability-flow ODE with steps chosen by their error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdaptiveOde {
    name: &'static str,
    method: &'static Tableau,
    rtol: f64,
    atol: f64,
    norm: Norm,
}

impl Default for AdaptiveOde {
    /// RK45 with tolerances of 1e-5.
    fn default() -> Self {
        Self::new(ENTRY.name, &RK45)
    }
}

impl AdaptiveOde {
    /// The options that every adaptive method takes.
    pub const TAKES: &[&str] = &["rtol", "atol", "norm"];

    /// A method under the name that descriptions have, with tolerances of 1e-5 and errors of each image by itself.
    pub fn new(name: &'static str, method: &'static Tableau) -> Self {
        Self { name, method, rtol: 1e-5, atol: 1e-5, norm: Norm::Image }
    }

    /// The same with what the options say.
    pub fn from_options(name: &'static str, method: &'static Tableau, o: &SolverOptions) -> Self {
        let solver = Self::new(name, method);
        Self {
            rtol: o.rtol.unwrap_or(solver.rtol),
            atol: o.atol.unwrap_or(solver.atol),
            norm: o.norm.unwrap_or(solver.norm),
            ..solver
        }
    }

    /// The error of a step relative to the state.
    #[must_use]
    pub fn rtol(mut self, rtol: f64) -> Self {
        self.rtol = rtol;
        self
    }

    /// The absolute error of a step.
    #[must_use]
    pub fn atol(mut self, atol: f64) -> Self {
        self.atol = atol;
        self
    }

    /// Over what the error is taken: each image, which then has steps of its own, or the batch as in the authors' code.
    #[must_use]
    pub fn norm(mut self, norm: Norm) -> Self {
        self.norm = norm;
        self
    }
}

impl Solver for AdaptiveOde {
    fn name(&self) -> &'static str {
        self.name
    }

    fn describe(&self, _: &Problem) -> Result<String> {
        let Self { name, rtol, atol, norm, .. } = self;
        Ok(format!("{name}, rtol {rtol}, atol {atol}{}", coupled(*norm, "errors")))
    }

    fn plan(&self, problem: &Problem) -> Result<SolverRun> {
        let options = FlowOptions {
            t_eps: problem.sde()?.default_t_eps(),
            tolerance: Tolerance::new(self.rtol, self.atol)?,
            norm: self.norm,
            method: self.method,
        };
        Ok(SolverRun::Flow { options, denoise: problem.noise_removal() })
    }
}

/// What the tests of every tableau measure.
#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::sampling::runge_kutta::{VecState, fixed_steps};

    /// Σ_j row_j · values_j.
    fn dot(row: &[f64], values: &[f64]) -> f64 {
        row.iter().zip(values).map(|(a, b)| a * b).sum()
    }

    /// Fails unless the coefficients meet the conditions of consistency and of order 3, the powers of c up to their orders, and show
    /// their order on y′ = y cos t, whose solution is e^{sin t}, in both directions.
    pub fn assert_order(method: &Tableau, rounding: f64) {
        let Tableau { name, order, error_order, c, a, b, e } = *method;
        assert_eq!((c.len(), a.len(), e.len()), (b.len(), b.len(), b.len() + 1), "{name}");
        for (i, row) in a.iter().enumerate() {
            assert_eq!(row.len(), i, "{name}, row {i}");
            assert!((row.iter().sum::<f64>() - c[i]).abs() < rounding, "{name}, row {i}");
        }
        let powers = |q: usize| -> Vec<f64> { c.iter().chain(&[1.0]).map(|c| c.powi(q as i32)).collect() };
        for q in 1..=order {
            assert!((dot(b, &powers(q - 1)) - 1.0 / q as f64).abs() < rounding, "{name}: Σ b c^{}", q - 1);
        }
        for q in 1..=error_order {
            assert!(dot(e, &powers(q - 1)).abs() < rounding, "{name}: Σ e c^{}", q - 1);
        }
        // Σ b_i a_ij c_j = 1/6, from order 3 on.
        let inner: Vec<f64> = a.iter().map(|row| dot(row, c)).collect();
        assert!(order < 3 || (dot(b, &inner) - 1.0 / 6.0).abs() < rounding, "{name}: Σ b a c");
        for (t0, t1) in [(0.0f64, 3.0f64), (3.0, 0.0)] {
            let error = |n| {
                let mut state =
                    VecState::new(vec![1.0], |t: f64, y: &[f64], k: &mut [f64]| k[0] = y[0] * t.cos());
                assert_eq!(fixed_steps(&mut state, method, t0, t1, n).unwrap(), 1 + b.len() * n);
                (state.y()[0] - (t1.sin() - t0.sin()).exp()).abs()
            };
            let observed = (error(20) / error(80)).log2() / 2.0;
            assert!((observed - order as f64).abs() < 0.25, "{name}, {t0} to {t1}: {observed}");
        }
    }

    #[test]
    fn rk45_is_of_order_five() {
        assert_order(&RK45, 1e-14);
    }
}
