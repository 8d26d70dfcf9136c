//! The time embedding as the blocks of a network take it.

use std::collections::HashMap;

use super::layers::Linear;
use super::trace::Trace;
use crate::error::Result;
use crate::graph::Value;
use crate::ops::conv2d::{Columns, linear_joined};

/// The time embedding behind its activation, and what the blocks' dense layers make of it where they are computed all at once.
#[derive(Clone, Debug)]
pub struct TimeEmbedding {
    /// `n c_temb`.
    activated: Value,
    /// The outputs of all layers side by side, and where that of a weight begins.
    joined: Option<(Value, HashMap<String, usize>)>,
}

impl From<Value> for TimeEmbedding {
    /// Each block computes its own layer.
    fn from(activated: Value) -> Self {
        Self { activated, joined: None }
    }
}

impl TimeEmbedding {
    /// With the outputs of `layers` as one product: there are dozens, and each alone is too small for a GPU.
    pub fn joined(trace: &mut Trace<'_>, activated: Value, layers: &[&Linear]) -> Result<Self> {
        let width = |layer: &Linear| layer.weight.shape[0];
        if layers.is_empty() || layers.iter().any(|layer| !width(layer).is_multiple_of(4)) {
            return Ok(activated.into());
        }
        let mut operands = Vec::with_capacity(layers.len());
        let (mut first, mut next) = (HashMap::new(), 0);
        for layer in layers {
            operands.push([trace.param(&layer.weight)?, trace.param(&layer.bias)?]);
            first.insert(layer.weight.name.clone(), next);
            next += width(layer);
        }
        let all = linear_joined(trace.graph, activated, &operands)?;
        Ok(Self { activated, joined: Some((all, first)) })
    }

    /// The output of a block's layer: `n c_out`.
    pub fn of(&self, trace: &mut Trace<'_>, layer: &Linear) -> Result<Columns> {
        if let Some((all, first)) = &self.joined
            && let Some(&first) = first.get(&layer.weight.name)
        {
            return Ok(Columns { of: *all, first });
        }
        Ok(layer.forward(trace, self.activated)?.into())
    }
}
