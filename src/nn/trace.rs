//! What a forward pass is traced into: the graph, the parameters, the source of dropout.

use super::manifest::Param;
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::ops::dropout::dropout;
use crate::ops::philox::Source;

/// The parameter set with the weights that are trained, unless another (an average, for one) is named.
pub const WEIGHTS: &str = "weights";
/// The parameter set with the tensors that stay as they were drawn.
pub const FIXED: &str = "fixed";

/// A forward pass in the making.
#[derive(Debug)]
pub struct Trace<'g> {
    /// The graph that receives the ops.
    pub graph: &'g mut Graph,
    set: &'g str,
    fixed: &'g str,
    dropout: Option<Source>,
    dropouts: usize,
}

impl<'g> Trace<'g> {
    /// A pass without dropout, over the parameters of `set` and of [`FIXED`].
    pub fn new(graph: &'g mut Graph, set: &'g str) -> Self {
        Self::over(graph, set, FIXED)
    }

    /// The same with another set for the tensors that stay as they were drawn: for the second of two networks in one graph.
    pub fn over(graph: &'g mut Graph, set: &'g str, fixed: &'g str) -> Self {
        Self { graph, set, fixed, dropout: None, dropouts: 0 }
    }

    /// The same with dropout: for training.
    pub fn with_dropout(self, source: Source) -> Self {
        Self { dropout: Some(source), ..self }
    }

    /// The value of a parameter that the network declared.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when two parameters of one name have different shapes.
    pub fn param(&mut self, param: &Param) -> Result<Value> {
        let set = if param.trainable { self.set } else { self.fixed };
        self.graph.parameter(set, &param.name, param.shape.as_slice())
    }

    /// Whether [`Trace::dropout`] at `rate` changes anything.
    pub fn drops(&self, rate: f64) -> bool {
        self.dropout.is_some() && rate > 0.0
    }

    /// Drops elements of `x` at `rate` in training. Each call of a pass has a mask of its own, by its place in the network.
    pub fn dropout(&mut self, x: Value, rate: f64) -> Result<Value> {
        let layer = self.dropouts;
        self.dropouts += 1;
        match self.dropout {
            Some(source) => dropout(self.graph, x, rate, source, layer),
            None => Ok(x),
        }
    }

    /// Runs `body` as a block of the network: with `name` in front of the names of what it appends, and as a segment, which a backward pass
    /// may compute again rather than keep what is inside.
    pub fn block<T>(&mut self, name: &str, body: impl FnOnce(&mut Trace<'_>) -> T) -> T {
        let opened = self.graph.enter_block();
        let result = self.scoped(name, body);
        self.graph.leave_block(opened);
        result
    }

    /// Runs `body` with `name` in front of the names of what it appends.
    pub fn scoped<T>(&mut self, name: &str, body: impl FnOnce(&mut Trace<'_>) -> T) -> T {
        let (set, fixed, dropout, dropouts) = (self.set, self.fixed, self.dropout, self.dropouts);
        let (result, dropouts) = self.graph.scoped(name, |graph| {
            let mut inner = Trace { graph, set, fixed, dropout, dropouts };
            let result = body(&mut inner);
            (result, inner.dropouts)
        });
        self.dropouts = dropouts;
        result
    }
}
