//! Reverse-mode differentiation: the gradient is more ops of the same graph.

use std::collections::{HashMap, HashSet};

use super::op::Node;
use super::trace::{Graph, Value};
use crate::error::{Error, Result};

/// Appends the sum of two values of one shape.
pub type Sum = fn(&mut Graph, Value, Value) -> Result<Value>;

impl Graph {
    /// Appends the gradient of `Σ seed·value` over `seeds` (value, seed) by each value of `wrt`; nothing is appended for any other.
    /// `None` where nothing depends on the value. Gradients that meet are added by `sum`, since this room knows no op.
    ///
    /// # Errors
    /// [`Error::Shape`] when a seed has not its value's shape.
    pub fn differentiate(
        &mut self,
        seeds: &[(Value, Value)],
        wrt: &[Value],
        sum: Sum,
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
        for index in (0..traced).rev() {
            let node = self.nodes[index].clone();
            if !node.outputs.iter().any(|v| needed.contains(v)) {
                continue;
            }
            let upstream: Vec<Option<Value>> = node.outputs.iter().map(|v| grads.get(v).copied()).collect();
            if upstream.iter().all(Option::is_none) {
                continue;
            }
            let needs: Vec<bool> = node.inputs.iter().map(|v| needed.contains(v)).collect();
            let view = Node { inputs: &node.inputs, outputs: &node.outputs };
            let scope = format!("{}.grad", node.scope);
            let computed = self.scoped(&scope, |g| node.op.backward(g, view, &upstream, &needs))?;
            for ((&input, gradient), need) in node.inputs.iter().zip(computed).zip(needs) {
                if let (Some(gradient), true) = (gradient, need) {
                    self.accumulate(&mut grads, input, gradient, sum)?;
                }
            }
        }
        Ok(wrt.iter().map(|v| grads.get(v).copied()).collect())
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
