//! How a kernel is chosen among the candidates of an op.

use std::fmt;
use std::sync::Arc;

use super::op::{Candidate, Io};
use super::tuner::Tuner;
use crate::gpu::{DeviceKind, Gpu};

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

    /// What the tool takes on a device: `LANGEVIN_KERNELS=tune` times every op's candidates ([`Tuner`]), `heuristic` and names of
    /// classes are as in [`Choice::from_env`]. Unset, GPUs are tuned and software devices are not: the heuristic was measured on
    /// one, and timing there takes longer than it saves.
    pub fn for_device(gpu: &Gpu) -> Self {
        let asked = std::env::var("LANGEVIN_KERNELS").unwrap_or_default();
        let software = gpu.capabilities().kind == DeviceKind::Software;
        match asked.trim() {
            "tune" => Tuner::new(gpu).choice(),
            "" if !software => Tuner::new(gpu).choice(),
            _ => Self::from_env(),
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
