//! The kernel chosen for each op, as checkpoints record it: the choice is part of the result, so a run that goes on takes the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::graph::{Choice, Io};

/// Choices by op and shapes. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct KernelRecord {
    chosen: Arc<Mutex<BTreeMap<String, String>>>,
}

impl KernelRecord {
    /// A record that begins with the choices of a checkpoint.
    pub fn new(known: BTreeMap<String, String>) -> Self {
        Self { chosen: Arc::new(Mutex::new(known)) }
    }

    /// The choices so far.
    pub fn choices(&self) -> BTreeMap<String, String> {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Chooses what is recorded, else what `base` would, and records it. An op with one candidate needs no record.
    pub fn choice(&self, base: &Choice) -> Choice {
        let (record, base) = (self.clone(), base.clone());
        Choice::Pick(Arc::new(move |stem, io, candidates| {
            if candidates.len() < 2 {
                return 0;
            }
            let key = key(stem, io);
            let mut chosen = record.chosen.lock().unwrap_or_else(PoisonError::into_inner);
            let known = chosen.get(&key).and_then(|name| candidates.iter().position(|c| c.name() == *name));
            let index = known.unwrap_or_else(|| base.index(stem, io, candidates));
            chosen.insert(key, candidates[index].name());
            index
        }))
    }
}

fn key(stem: &str, io: &Io) -> String {
    let shapes = |tensors: &[crate::graph::Tensor]| {
        tensors.iter().map(|t| t.shape.to_string()).collect::<Vec<_>>().join(" ")
    };
    format!("{stem}: {} -> {}", shapes(&io.inputs), shapes(&io.outputs))
}
