//! How a kernel is chosen among the candidates of an op.

use std::fmt;
use std::sync::Arc;

use super::op::{Candidate, Io};
use super::tuner::Tuner;
use crate::gpu::{DeviceKind, Gpu};

/// Picks one of the candidates of an op: given its stem, its operands and the candidates, the index of one.
pub type Pick = dyn Fn(&str, &Io, &[Candidate]) -> usize + Send + Sync;

/// A candidate that was not chosen.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rival {
    /// Class and variant.
    pub name: String,
    /// Why not, in words.
    pub why: String,
}

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
    /// `LANGEVIN_KERNELS=winograd2,implicit` forces classes; unset is the heuristic. `half` and `cooperative`, which round to f16, are
    /// taken only where they are named.
    pub fn from_env() -> Self {
        match std::env::var("LANGEVIN_KERNELS") {
            Ok(classes) if !classes.trim().is_empty() => {
                Self::Classes(classes.split(',').map(|c| c.trim().to_owned()).collect())
            }
            _ => Self::Heuristic,
        }
    }

    /// What the tool takes on a device: `LANGEVIN_KERNELS=tune` times every op's candidates ([`Tuner`]), `tune,half,cooperative` those
    /// that round to f16 too; `heuristic` and names of classes are as in [`Choice::from_env`]. Unset, GPUs are tuned and software
    /// devices are not: the heuristic was measured on one, and timing there takes longer than it saves.
    pub fn for_device(gpu: &Gpu) -> Self {
        let asked = std::env::var("LANGEVIN_KERNELS").unwrap_or_default();
        let asked: Vec<&str> = asked.split(',').map(str::trim).filter(|class| !class.is_empty()).collect();
        let software = gpu.capabilities().kind == DeviceKind::Software;
        match asked.contains(&"tune") || (asked.is_empty() && !software) {
            true => Tuner::new(gpu).with_reduced(&asked).choice(),
            false => Self::from_env(),
        }
    }

    /// Why the candidate was not taken, in words.
    pub(super) fn reason(&self, candidate: &Candidate) -> &'static str {
        match self {
            Self::Heuristic | Self::Classes(_) if candidate.arithmetic.is_reduced() => {
                "rounds to f16, and was not asked for by LANGEVIN_KERNELS"
            }
            Self::Heuristic => "later in the written order",
            Self::Classes(_) => "later in the written order, or of a class that was not asked for",
            Self::Pick(_) if candidate.arithmetic.is_reduced() => {
                "rounds to f16: not asked for by LANGEVIN_KERNELS, or slower"
            }
            Self::Pick(_) => "slower by time, or later in the written order where nothing was timed",
        }
    }

    pub(crate) fn index(&self, stem: &str, io: &Io, candidates: &[Candidate]) -> usize {
        // What rounds more than f32 does is taken by name only.
        let first = || candidates.iter().position(|c| !c.arithmetic.is_reduced()).unwrap_or(0);
        let named = |class: &String| candidates.iter().position(|c| c.class == class);
        match self {
            Self::Heuristic => first(),
            Self::Classes(classes) => classes.iter().find_map(named).unwrap_or_else(first),
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
