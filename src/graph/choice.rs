//! How a kernel is chosen among the candidates of an op.

use std::fmt;
use std::sync::Arc;

use super::op::{Candidate, Io};

/// Picks one of the candidates of an op: given its stem, its operands and the candidates, the index of one.
pub type Pick = dyn Fn(&str, &Io, &[Candidate]) -> usize + Send + Sync;

/// How kernels are chosen.
#[derive(Clone, Default)]
pub enum Choice {
    /// The op's own order: the first candidate.
    #[default]
    Heuristic,
    /// The first candidate of one of these classes where there is one, else the first candidate.
    Classes(Vec<String>),
    /// By a function: a tuner's record, or a test that goes through all of them.
    Pick(Arc<Pick>),
}

impl Choice {
    /// `LANGEVIN_KERNELS=winograd2,implicit` forces classes; unset is the heuristic.
    pub fn from_env() -> Self {
        match std::env::var("LANGEVIN_KERNELS") {
            Ok(classes) if !classes.trim().is_empty() => {
                Self::Classes(classes.split(',').map(|c| c.trim().to_owned()).collect())
            }
            _ => Self::Heuristic,
        }
    }

    pub(crate) fn index(&self, stem: &str, io: &Io, candidates: &[Candidate]) -> usize {
        match self {
            Self::Heuristic => 0,
            Self::Classes(classes) => {
                classes.iter().find_map(|class| candidates.iter().position(|c| c.class == class)).unwrap_or(0)
            }
            Self::Pick(pick) => pick(stem, io, candidates).min(candidates.len() - 1),
        }
    }
}

impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Heuristic => f.write_str("Heuristic"),
            Self::Classes(classes) => f.debug_tuple("Classes").field(classes).finish(),
            Self::Pick(_) => f.write_str("Pick"),
        }
    }
}
