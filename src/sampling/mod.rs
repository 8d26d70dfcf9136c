//! Predictors, correctors, the predictor-corrector loop, the probability-flow ODE, few-step solvers.
//!
//! A sampler is one of [`solvers`], or the scheduler of a diffusers folder ([`schedulers`]). Its numbers are worked out here in f64
//! before anything runs; what remains for the device is linear algebra with a table of coefficients: [`coefficients`] for
//! predictor-corrector sampling, [`few_step`] for solvers that take tens of evaluations, [`runge_kutta`] for the adaptive ODE.
//! [`moments`] says what any of them gives on Gaussian data, exactly.
//!
//! ```
//! use langevin::sampling::solvers::{self, SolverOptions};
//!
//! for entry in solvers::all() {
//!     println!("{}: {}", entry.name, entry.help);
//! }
//! let mut options = SolverOptions::default();
//! options.steps = Some(30);
//! let solver = solvers::by_name("dpmpp")?.solver(&options)?;
//! assert_eq!(solver.name(), "dpmpp");
//! # Ok::<(), langevin::Error>(())
//! ```

pub mod coefficients;
pub mod dpm;
pub mod draws;
pub mod few_step;
pub mod flow;
pub mod moments;
pub mod ode;
pub mod pc;
pub mod prior;
pub mod run;
pub mod runge_kutta;
pub mod schedulers;
pub mod solver;
pub mod solvers;
