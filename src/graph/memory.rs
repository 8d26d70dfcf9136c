//! What a plan takes.

use std::fmt;

/// What a plan takes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Inputs, states and constants.
    pub inputs: u64,
    /// Tensors of parameter sets that the plan uses.
    pub parameters: u64,
    /// Activations, gradients of activations and workspaces, sharing buffers.
    pub shared: u64,
    /// The most bytes of those that are alive at once: what no plan of this graph can go below.
    pub peak: u64,
    /// Packed and transformed weights.
    pub prepared: u64,
    /// Uniform blocks.
    pub uniforms: u64,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.inputs + self.parameters + self.shared + self.prepared + self.uniforms
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "{:.1} MiB (parameters {:.1}, activations and workspaces {:.1}, packed weights {:.1}, inputs {:.1})",
            mib(self.total()),
            mib(self.parameters),
            mib(self.shared),
            mib(self.prepared),
            mib(self.inputs + self.uniforms)
        )
    }
}
