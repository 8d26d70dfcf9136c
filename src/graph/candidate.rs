//! A candidate: one way to compute an op, as launches.

use super::arithmetic::Arithmetic;
use super::class::Class;
use super::launch::Launch;

/// One way to compute an op.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The class, by which a person may ask for it.
    pub class: Class,
    /// Tile and other figures that tell candidates of a class apart.
    pub variant: String,
    /// The order of summation, where candidates share one; else empty. See [`Candidate::order`].
    pub order: String,
    /// What its products are of: a draft leaves out what the device lacks.
    pub arithmetic: Arithmetic,
    /// Bytes of each prepared buffer.
    pub prepared: Vec<u64>,
    /// Launches that fill the prepared buffers; they may read inputs and write `Operand::Prepared` only.
    pub prepare: Vec<Launch>,
    /// Bytes of each workspace.
    pub workspaces: Vec<u64>,
    /// Launches of a step, in order.
    pub launches: Vec<Launch>,
}

impl Candidate {
    /// The one plain way.
    pub fn plain(launches: Vec<Launch>) -> Self {
        Self::of_class(Class::Plain, launches)
    }

    /// A way of this class without a variant, prepared buffers or workspaces.
    pub fn of_class(class: Class, launches: Vec<Launch>) -> Self {
        Self {
            class,
            variant: String::new(),
            order: String::new(),
            arithmetic: Arithmetic::Single,
            prepared: Vec::new(),
            prepare: Vec::new(),
            workspaces: Vec::new(),
            launches,
        }
    }

    /// Class and variant.
    pub fn name(&self) -> String {
        format!("{} {}", self.class, self.variant).trim_end().to_owned()
    }

    /// The order in which it adds the terms of each sum: candidates of one op with equal orders give equal bits, which a test holds them
    /// to. Checkpoints and the tuner record the order; which of its candidates runs may depend on the number of images. A candidate that
    /// shares its order with no other has its name for it.
    pub fn order(&self) -> String {
        if self.order.is_empty() { self.name() } else { self.order.clone() }
    }

    /// The same of this variant.
    pub fn variant(mut self, variant: impl Into<String>) -> Self {
        self.variant = variant.into();
        self
    }

    /// The same with this order of summation.
    pub fn in_order(mut self, order: impl Into<String>) -> Self {
        self.order = order.into();
        self
    }

    /// The same with a prepared buffer of these bytes, which `launch` fills.
    pub fn preparing(mut self, bytes: u64, launch: Launch) -> Self {
        self.prepared.push(bytes);
        self.prepare.push(launch);
        self
    }

    /// The same with scratch memory of these sizes in bytes.
    pub fn with_workspaces(mut self, bytes: Vec<u64>) -> Self {
        self.workspaces = bytes;
        self
    }

    /// Floating-point operations of its launches.
    pub fn flops(&self) -> f64 {
        self.launches.iter().map(|launch| launch.flops).sum()
    }
}
