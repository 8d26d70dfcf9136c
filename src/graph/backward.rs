//! Reverse-mode differentiation: the gradient is more ops of the same graph.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::trace::{Graph, Node, NodeInfo, Value};
use crate::error::{Error, Result};

/// Appends the sum of two values of one shape.
pub type Sum = fn(&mut Graph, Value, Value) -> Result<Value>;

/// The block that was recomputed last, and the second copy of each of its values.
#[derive(Default)]
struct Recomputed {
    block: Option<Range<usize>>,
    values: HashMap<Value, Value>,
}

impl Recomputed {
    /// `values`, with the second copy in place of the first where there is one.
    fn in_place_of(&self, values: &[Value]) -> Vec<Value> {
        values.iter().map(|v| self.values.get(v).copied().unwrap_or(*v)).collect()
    }
}

impl Graph {
    /// Appends the gradient of `Σ seed·value` over `seeds` (value, seed) by each value of `wrt`; nothing is appended for any other.
    /// `None` where nothing depends on the value. Gradients that meet are added by `sum`, since this module knows no op.
    ///
    /// With `recompute`, what the backward pass of a block ([`Graph::enter_block`]) needs from inside it is computed a second time right
    /// before, by the same ops from the same values: the gradients keep their bits, and between the passes only what crosses the borders of
    /// blocks is alive (Chen et al. 2016, "Training deep nets with sublinear memory cost").
    ///
    /// # Errors
    /// [`Error::Shape`] when a seed has not its value's shape.
    pub fn differentiate(
        &mut self,
        seeds: &[(Value, Value)],
        wrt: &[Value],
        sum: Sum,
        recompute: bool,
    ) -> Result<Vec<Option<Value>>> {
        let traced = self.nodes.len();
        let needed = self.dependents(wrt, traced);
        let mut grads: HashMap<Value, Value> = HashMap::new();
        for &(value, seed) in seeds {
            if self.shape(value) != self.shape(seed) {
                let problem = format!("the seed is {}, its value is {}", self.shape(seed), self.shape(value));
                return Err(Error::shape("backward", problem, "give a seed of the value's shape"));
            }
            self.accumulate(&mut grads, value, seed, sum)?;
        }
        let mut recomputed = Recomputed::default();
        for index in (0..traced).rev() {
            let node = self.nodes[index].clone();
            let needs: Vec<bool> = node.inputs.iter().map(|v| needed.contains(v)).collect();
            if !needs.contains(&true) {
                continue;
            }
            let upstream: Vec<Option<Value>> = node.outputs.iter().map(|v| grads.get(v).copied()).collect();
            if upstream.iter().all(Option::is_none) {
                continue;
            }
            if recompute {
                self.repeat(index, &mut recomputed);
            }
            let [inputs, outputs] =
                [&node.inputs, &node.outputs].map(|values| recomputed.in_place_of(values));
            let view = Node { inputs: &inputs, outputs: &outputs, needs: &needs };
            let scope = format!("{}.grad", node.scope);
            let computed = self.scoped(&scope, |g| node.op.backward_all(g, view, &upstream))?;
            for ((&input, gradient), need) in node.inputs.iter().zip(computed).zip(&needs) {
                if let (Some(gradient), true) = (gradient, *need) {
                    self.accumulate(&mut grads, input, gradient, sum)?;
                }
            }
        }
        Ok(wrt.iter().map(|v| grads.get(v).copied()).collect())
    }

    /// Appends the ops of the block around node `index` once more, unless they are the last that were repeated. Those whose results
    /// nobody asks for are left out of a draft, as any op is.
    fn repeat(&mut self, index: usize, recomputed: &mut Recomputed) {
        // Blocks stand in order and do not overlap.
        let after = self.blocks.partition_point(|block| block.start <= index);
        let block = after.checked_sub(1).map(|at| self.blocks[at].clone());
        let Some(block) = block.filter(|block| block.contains(&index)) else { return };
        if recomputed.block.as_ref() == Some(&block) {
            return;
        }
        recomputed.values.clear();
        let nodes = self.nodes[block.clone()].to_vec();
        for node in nodes {
            // What an op writes to memory that stays is written once.
            if !node.op.mutates().is_empty() {
                continue;
            }
            let outputs: Vec<Value> =
                node.outputs.iter().map(|&v| self.temporary_like(v, ".again")).collect();
            recomputed.values.extend(node.outputs.iter().copied().zip(outputs.iter().copied()));
            let scope = format!("{}.again", node.scope);
            self.nodes.push(NodeInfo {
                op: node.op,
                inputs: recomputed.in_place_of(&node.inputs),
                outputs,
                scope,
            });
        }
        recomputed.block = Some(block);
    }

    fn accumulate(
        &mut self,
        grads: &mut HashMap<Value, Value>,
        value: Value,
        gradient: Value,
        sum: Sum,
    ) -> Result<()> {
        let total = match grads.get(&value) {
            Some(&so_far) => sum(self, so_far, gradient)?,
            None => gradient,
        };
        grads.insert(value, total);
        Ok(())
    }

    /// Values that depend on any of `wrt`, these included.
    fn dependents(&self, wrt: &[Value], traced: usize) -> HashSet<Value> {
        let mut set: HashSet<Value> = wrt.iter().copied().collect();
        for node in &self.nodes[..traced] {
            if node.inputs.iter().any(|v| set.contains(v)) {
                set.extend(&node.outputs);
            }
        }
        set
    }
}
