//! A draft: a kernel for every op, a place in memory for every tensor, and the memory they take, before anything is allocated.
//!
//! A draft is data. It knows the limits of a device, no device: the same draft can be counted, shown, compiled elsewhere, timed by a tuner
//! or built.

use std::collections::HashMap;

use super::arithmetic::Arithmetic;
use super::candidate::Candidate;
use super::choice::{Choice, Choices, Rival, Settled};
use super::class::Class;
use super::io::Io;
use super::key::OpKey;
use super::memory::Memory;
use super::trace::{Graph, Op, Value};
use crate::gpu::{Capabilities, Const, Kernel};

/// How to draft.
#[derive(Clone, Debug, Default)]
pub struct DraftOptions {
    /// How kernels are chosen.
    pub choice: Choice,
    /// For tests: no two tensors share memory, each has a guard zone behind it (`Plan::guards_hold`), and scratch memory begins as
    /// NaN (`Plan::poison`).
    pub guards: bool,
    /// Parameters will be written before most replays, by another plan: what packing them takes counts when kernels are timed. Where the
    /// graph itself writes its parameters, that counts in any case.
    pub parameters_change: bool,
}

/// Where the memory of a binding is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Location {
    /// A shared buffer, the first so many bytes.
    Shared { buffer: usize, bytes: u64 },
    /// An input, state or constant.
    External(Value),
    /// A tensor of a parameter set.
    Slot { set: String, name: String },
    /// A segment of a parameter set.
    Segment { set: String, index: usize },
    /// A prepared buffer.
    Prepared(usize),
}

/// A launch whose operands have memory.
#[derive(Clone, Debug)]
pub(super) struct LocatedLaunch {
    pub(super) kernel: Kernel,
    pub(super) locations: Vec<Location>,
    pub(super) uniform: Vec<(&'static str, Const)>,
    pub(super) grid: [u32; 3],
    pub(super) flops: f64,
    /// Scope, op and class: what traces show.
    pub(super) label: String,
}

/// What was chosen for an op.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Scope and name of the op.
    pub op: String,
    /// Its identity.
    pub key: OpKey,
    /// Class of the candidate.
    pub class: Class,
    /// Its variant.
    pub variant: String,
    /// Its order of summation.
    pub order: String,
    /// What its products are of.
    pub arithmetic: Arithmetic,
    /// Candidates there were.
    pub of: usize,
    /// Those that were not chosen, and those that the device cannot run.
    pub rivals: Vec<Rival>,
    /// Floating-point operations of the mathematics.
    pub flops: f64,
    /// Bytes that must be read and written at least.
    pub bytes: f64,
}

impl Chosen {
    /// Class and variant.
    pub fn name(&self) -> String {
        format!("{} {}", self.class, self.variant).trim_end().to_owned()
    }
}

/// The node of each op that runs, and what a tuner wants to know of it.
#[derive(Clone, Debug)]
pub(super) struct DraftedNode {
    pub(super) node: usize,
    pub(super) in_place: bool,
    /// How much of the choice a table had.
    pub(super) settled: Settled,
    /// What the candidate prepares is prepared in every step.
    pub(super) prepares: bool,
}

/// An op of a draft, as a tuner takes it.
#[derive(Clone, Debug)]
pub struct DraftedOp<'a> {
    /// Its identity.
    pub key: &'a OpKey,
    /// The name of the op.
    pub name: &'static str,
    /// Its operands.
    pub io: Io,
    /// How much of the choice a table had, which a tuner leaves as it is.
    pub settled: Settled,
    /// The order of summation that was chosen.
    pub order: &'a str,
    /// True where packing weights is a part of every step.
    pub prepares: bool,
    op: &'a dyn Op,
    device: &'a Capabilities,
}

impl DraftedOp<'_> {
    /// The op and its operands as text: on one device, equal texts have equal candidates.
    pub fn definition(&self) -> String {
        format!("{:?} {:?}", self.op, self.io)
    }

    /// The candidates that the device can run, in the written order.
    pub fn candidates(&self) -> Vec<Candidate> {
        let mut all = self.op.candidates(&self.io, self.device);
        all.retain(|candidate| candidate.arithmetic.lacking(self.device).is_none());
        all
    }
}

/// A plan on paper.
#[derive(Clone, Debug)]
pub struct Draft {
    pub(super) graph: Graph,
    pub(super) outputs: Vec<Value>,
    pub(super) device: Capabilities,
    pub(super) options: DraftOptions,
    pub(super) nodes: Vec<DraftedNode>,
    pub(super) chosen: Vec<Chosen>,
    pub(super) unmet: Vec<String>,
    pub(super) locations: HashMap<Value, Location>,
    pub(super) shared: Vec<u64>,
    pub(super) prepared: Vec<u64>,
    pub(super) prepare: Vec<LocatedLaunch>,
    pub(super) step: Vec<LocatedLaunch>,
    pub(super) uniform_slots: usize,
    pub(super) memory: Memory,
}

impl Draft {
    /// What the plan will take.
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// What was chosen for each op, in order.
    pub fn chosen(&self) -> &[Chosen] {
        &self.chosen
    }

    /// The table of what was chosen, of ops that had a choice: a draft of the same graph through it chooses the same.
    pub fn choices(&self) -> Choices {
        let mut choices = Choices::default();
        for chosen in self.chosen.iter().filter(|chosen| chosen.of > 1) {
            choices.insert_chosen(&chosen.key, chosen.order.clone(), chosen.name());
        }
        choices
    }

    /// What a table asked for and no candidate is: key and order of each, once.
    pub fn unmet(&self) -> &[String] {
        &self.unmet
    }

    /// The ops that run, in order.
    pub fn ops(&self) -> impl Iterator<Item = DraftedOp<'_>> {
        self.nodes.iter().zip(&self.chosen).map(|(drafted, chosen)| {
            let node = &self.graph.nodes[drafted.node];
            DraftedOp {
                key: &chosen.key,
                name: node.op.name(),
                io: Io { in_place: drafted.in_place, ..self.graph.io(node) },
                settled: drafted.settled,
                order: &chosen.order,
                prepares: drafted.prepares,
                op: node.op.as_ref(),
                device: &self.device,
            }
        })
    }

    /// How it chose.
    pub fn choice(&self) -> &Choice {
        &self.options.choice
    }

    /// Floating-point operations of a step, direct convolution counted.
    pub fn flops(&self) -> f64 {
        self.chosen.iter().map(|c| c.flops).sum()
    }

    /// Bytes that the ops of a step must read and write at least, one by one.
    pub fn bytes(&self) -> f64 {
        self.chosen.iter().map(|c| c.bytes).sum()
    }

    /// Every kernel of the draft with the fields of its uniform block, for checks without a device.
    pub fn launches(&self) -> impl Iterator<Item = (&Kernel, &[(&'static str, Const)])> {
        self.prepare.iter().chain(&self.step).map(|l| (&l.kernel, l.uniform.as_slice()))
    }

    /// Every kernel of the draft.
    pub fn kernels(&self) -> impl Iterator<Item = &Kernel> {
        self.launches().map(|(kernel, _)| kernel)
    }
}
