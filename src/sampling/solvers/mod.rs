//! The solvers: a file each, with its coefficients, name, help, defaults and tests. [`all`] lists them; the command line's help, the
//! table of `docs/sampling.md` and the tests over all solvers are made from that list.
//!
//! A solver is a [`Solver`]: it says what it is for a model, and plans a run in f64 without a device. The schedulers of diffusers
//! folders are solvers too, but come with a model: see [`schedulers`](super::schedulers).

pub mod bosh3;
pub mod ddim;
pub mod dpmpp;
pub mod heun;
pub mod heun21;
pub mod ode;
pub mod options;
pub mod pc;
mod problem;
pub mod tsit5;

use std::fmt::Debug;

pub use options::{Misplaced, SolverOptions};
pub use problem::{PcDefaults, Problem};

pub use bosh3::BOSH3;
pub use ddim::Ddim;
pub use dpmpp::DpmSolverPp;
pub use heun::Heun;
pub use heun21::HEUN21;
pub use ode::{AdaptiveOde, RK45};
pub use pc::PredictorCorrector;
pub use tsit5::TSIT5;

use super::coefficients::PcTable;
use super::few_step::SolverTable;
use super::flow::FlowOptions;
use crate::error::{Error, Result, nearest};
use crate::ops::sampler_step::Norm;

/// The list of solvers. A new one is named here and by a `mod` line above, and nowhere else.
const ALL: &[Entry] = &[
    dpmpp::ENTRY,
    heun::ENTRY,
    ddim::ENTRY,
    ode::ENTRY,
    bosh3::ENTRY,
    tsit5::ENTRY,
    heun21::ENTRY,
    pc::ENTRY,
];

/// A way from noise to images.
pub trait Solver: Debug + Send + Sync {
    /// Its name in the list of solvers; for a scheduler of diffusers its class.
    fn name(&self) -> &'static str;

    /// What it is for a model, in words: `dpmpp, eta 1, 20 steps`.
    ///
    /// # Errors
    /// As [`Solver::plan`].
    fn describe(&self, problem: &Problem) -> Result<String>;

    /// What is run, in f64; no device takes part.
    ///
    /// # Errors
    /// [`Error::Invalid`] where an option is out of range or the model has no SDE that the solver needs.
    fn plan(&self, problem: &Problem) -> Result<SolverRun>;
}

/// What a solver runs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SolverRun {
    /// Predictor-corrector sampling.
    Pc {
        /// The coefficients.
        table: PcTable,
        /// How the norms of a Langevin step are taken.
        norm: Norm,
    },
    /// Rows of an evaluation and an update each.
    Rows {
        /// The coefficients.
        table: SolverTable,
        /// The rows take the network's output as it is, where others take the score.
        raw_output: bool,
    },
    /// The probability-flow ODE.
    Flow {
        /// Where it ends, by which method, and how exact it is.
        options: FlowOptions,
        /// The result is the mean of one step of reverse diffusion behind the end.
        denoise: bool,
    },
}

impl SolverRun {
    /// Evaluations of the network; those of an adaptive solver are not known before.
    pub fn evaluations(&self) -> Option<usize> {
        match self {
            Self::Pc { table, .. } => Some(table.evaluations()),
            Self::Rows { table, .. } => Some(table.rows.len()),
            Self::Flow { .. } => None,
        }
    }
}

/// A solver in the list.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// As users name it.
    pub name: &'static str,
    /// What it is, in a line.
    pub help: &'static str,
    /// How often the network is evaluated, in words.
    pub evaluations: &'static str,
    /// The fields of [`SolverOptions`] that it takes.
    pub takes: &'static [&'static str],
    /// The solver with these options, its defaults for the others. [`Entry::solver`] checks them first.
    pub from_options: fn(&SolverOptions) -> Result<Box<dyn Solver>>,
}

impl Entry {
    /// The solver with these options, its defaults for the others.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an option that this solver does not take, with those that take it.
    pub fn solver(&self, options: &SolverOptions) -> Result<Box<dyn Solver>> {
        options.check(self.takes, self.name)?;
        (self.from_options)(options)
    }
}

/// Every solver, the default first.
pub fn all() -> &'static [Entry] {
    ALL
}

/// The solver that is taken where none is named.
pub fn default_entry() -> &'static Entry {
    &ALL[0]
}

/// The solver of this name.
///
/// # Errors
/// [`Error::UnknownName`] with the nearest that exists.
pub fn by_name(name: &str) -> Result<&'static Entry> {
    ALL.iter().find(|entry| entry.name == name).ok_or_else(|| Error::UnknownName {
        kind: "sampler",
        name: name.to_owned(),
        nearest: nearest(name, ALL.iter().map(|entry| entry.name)),
    })
}

/// `1 step`, `20 steps`.
pub(super) fn steps_of(steps: usize) -> String {
    format!("{steps} step{}", if steps == 1 { "" } else { "s" })
}

/// What a description says where images of a batch are coupled.
fn coupled(norm: Norm, what: &str) -> String {
    if norm == Norm::Batch { format!(", {what} of the batch") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sde::{Sde, SubVp, TimeConditioning, Ve, Vp};

    fn problems() -> Vec<Problem> {
        let sdes: [Arc<dyn Sde>; 3] = [
            Arc::new(Ve::new(0.01, 50.0, 30).unwrap()),
            Arc::new(Vp::new(0.1, 20.0, 30).unwrap()),
            Arc::new(SubVp::new(0.1, 20.0, 30).unwrap()),
        ];
        let times = [TimeConditioning::Continuous, TimeConditioning::Discrete { levels: 30 }];
        sdes.iter().flat_map(|sde| times.map(|time| Problem::new(Arc::clone(sde), time))).collect()
    }

    #[test]
    fn every_solver_plans_a_run_on_every_sde() {
        for entry in all() {
            for problem in problems() {
                let solver = entry.solver(&SolverOptions::default()).unwrap();
                assert_eq!(solver.name(), entry.name);
                let words = solver.describe(&problem).unwrap();
                assert!(words.split([' ', ',']).next() == Some(entry.name), "{words}");
                let run = solver.plan(&problem).unwrap();
                assert!(run.evaluations().is_none_or(|n| n > 0), "{words}");
            }
            let none = Problem::without_sde("m", "its scheduler has no SDE", TimeConditioning::Continuous);
            let solver = entry.solver(&SolverOptions::default()).unwrap();
            for error in [solver.plan(&none).map(|_| ()), none.sde().map(|_| ())] {
                assert!(
                    error.unwrap_err().to_string().contains("its scheduler has no SDE"),
                    "{}",
                    entry.name
                );
            }
        }
    }

    /// An option is taken where the entry says so, changes the description or the plan, and is refused by all others.
    #[test]
    fn options_belong_to_those_that_take_them() {
        for options in options::tests::one_of_each() {
            let (name, value) = options.given()[0].clone();
            assert!(all().iter().any(|entry| entry.takes.contains(&name)), "nobody takes {name}");
            for entry in all() {
                let solver = entry.solver(&options);
                if entry.takes.contains(&name) {
                    let problem = &problems()[0];
                    let words = |solver: &dyn Solver| {
                        format!("{:?} {:?}", solver.describe(problem).unwrap(), solver.plan(problem).unwrap())
                    };
                    let default = entry.solver(&SolverOptions::default()).unwrap();
                    assert_ne!(
                        words(solver.unwrap().as_ref()),
                        words(default.as_ref()),
                        "{} {name}",
                        entry.name
                    );
                    continue;
                }
                let error = solver.unwrap_err().to_string();
                assert!(error.starts_with(&format!("{name} = {value}: it belongs to ")), "{error}");
                assert!(error.ends_with(&format!(", not {}", entry.name)), "{error}");
            }
        }
        for entry in all() {
            assert!(entry.takes.iter().all(|name| options::NAMES.contains(name)), "{}", entry.name);
        }
    }

    #[test]
    fn unknown_names_are_told_the_nearest() {
        let error = by_name("dpmp").unwrap_err().to_string();
        assert!(error.contains("unknown sampler \"dpmp\"; did you mean \"dpmpp\"?"), "{error}");
        assert!(all().iter().all(|entry| by_name(entry.name).unwrap().name == entry.name));
    }

    /// The table of `docs/sampling.md` is the list.
    #[test]
    fn the_page_lists_every_solver() {
        let page = include_str!("../../../docs/sampling.md");
        let rows: String = all()
            .iter()
            .enumerate()
            .map(|(i, e)| {
                let default = if i == 0 { " (default)" } else { "" };
                let takes = e.takes.join(", ");
                format!("| `{}`{default} | {} | {} | {takes} |\n", e.name, e.help, e.evaluations)
            })
            .collect();
        assert!(page.contains(&rows), "docs/sampling.md should have:\n{rows}");
    }
}
