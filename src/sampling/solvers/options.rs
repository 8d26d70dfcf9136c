//! The options of solvers, each of which belongs to some of them.

use std::fmt::Display;

use super::all;
use crate::error::{Error, Result};
use crate::ops::sampler_step::Norm;
use crate::sampling::coefficients::{Corrector, Predictor};

/// The fields, and their names and values for messages.
macro_rules! options {
    ($($(#[$doc:meta])* $field:ident: $ty:ty,)*) => {
        /// What a solver may be told; nothing is its default.
        #[derive(Debug, Clone, Default, PartialEq)]
        #[non_exhaustive]
        pub struct SolverOptions {
            $($(#[$doc])* pub $field: Option<$ty>,)*
        }

        /// The names of all options.
        pub const NAMES: &[&str] = &[$(stringify!($field)),*];

        impl SolverOptions {
            /// The options that are given, each with its value.
            pub fn given(&self) -> Vec<(&'static str, String)> {
                let all = [$((stringify!($field), self.$field.as_ref().map(text))),*];
                all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
            }
        }
    };
}

options! {
    /// The number of steps.
    steps: usize,
    /// Noise, from 0 (none) to 1 (as much as the SDE adds).
    eta: f64,
    /// Clamps predictions of x_0 to ± this, in the model's own scale; 0 does not clamp.
    clip: f64,
    /// The predictor of predictor-corrector sampling.
    predictor: Predictor,
    /// Its corrector.
    corrector: Corrector,
    /// The signal-to-noise ratio of its corrector.
    snr: f64,
    /// Over what norms are taken: those of Langevin steps and of an ODE's errors.
    norm: Norm,
    /// Relative tolerance of an adaptive solver.
    rtol: f64,
    /// Absolute tolerance of an adaptive solver.
    atol: f64,
}

fn text(value: &impl Display) -> String {
    value.to_string()
}

/// An option that was given to a solver which does not take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misplaced {
    /// The option.
    pub option: &'static str,
    /// Its value.
    pub value: String,
    /// The solvers that take it.
    pub belongs_to: Vec<&'static str>,
}

impl SolverOptions {
    /// The first of the options that are given without being among those that are taken.
    pub fn misplaced(&self, takes: &[&str]) -> Option<Misplaced> {
        let (option, value) = self.given().into_iter().find(|(name, _)| !takes.contains(name))?;
        let belongs_to = all().iter().filter(|e| e.takes.contains(&option)).map(|e| e.name).collect();
        Some(Misplaced { option, value, belongs_to })
    }

    /// Fails where an option is given that is not among those that `what` takes.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the solvers to which the option belongs.
    pub fn check(&self, takes: &[&str], what: &str) -> Result<()> {
        match self.misplaced(takes) {
            None => Ok(()),
            Some(Misplaced { option, value, belongs_to }) => {
                let problem = format!("it belongs to {}, not {what}", listed(&belongs_to));
                Err(Error::invalid(option, value, problem))
            }
        }
    }
}

/// `a`, `a or b`, `a, b or c`.
pub fn listed(names: &[&str]) -> String {
    match names {
        [] => "nothing".into(),
        [one] => (*one).into(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Options of which one is given, another than the default of every solver.
    pub fn one_of_each() -> Vec<SolverOptions> {
        let none = SolverOptions::default;
        let all = vec![
            SolverOptions { steps: Some(29), ..none() },
            SolverOptions { eta: Some(0.5), ..none() },
            SolverOptions { clip: Some(0.7), ..none() },
            SolverOptions { predictor: Some(Predictor::EulerMaruyama), ..none() },
            SolverOptions { corrector: Some(Corrector::Ald), ..none() },
            SolverOptions { snr: Some(0.3), ..none() },
            SolverOptions { norm: Some(Norm::Batch), ..none() },
            SolverOptions { rtol: Some(0.01), ..none() },
            SolverOptions { atol: Some(0.01), ..none() },
        ];
        let names: Vec<&str> = all.iter().map(|o| o.given()[0].0).collect();
        assert_eq!(names, NAMES, "an option is missing from this list");
        all
    }

    #[test]
    fn lists_in_words() {
        assert_eq!(
            [listed(&["a"]), listed(&["a", "b"]), listed(&["a", "b", "c"])],
            ["a", "a or b", "a, b or c"]
        );
    }
}
