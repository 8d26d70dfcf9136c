//! Predictors, correctors, the predictor-corrector loop, the probability-flow ODE, few-step solvers.
//!
//! A sampler's numbers are worked out here in f64 before anything runs; what remains for the device is linear
//! algebra with a table of coefficients: [`coefficients`] for predictor-corrector sampling, [`few_step`] and
//! [`schedulers`] for solvers that take tens of evaluations, [`rk45`] for the adaptive ODE. [`moments`] says what
//! any of them gives on Gaussian data, exactly.

pub mod coefficients;
pub mod draws;
pub mod few_step;
pub mod flow;
pub mod moments;
pub mod ode;
pub mod pc;
pub mod prior;
pub mod rk45;
pub mod run;
pub mod schedulers;
pub mod solver;
