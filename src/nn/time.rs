//! The time embedding as the blocks of a network take it.

use std::collections::HashMap;

use super::layers::Linear;
use super::trace::Trace;
use crate::error::Result;
use crate::graph::Value;
use crate::ops::conv2d::{Columns, linear_joined};

/// Bytes of weights that stand side by side: half of a binding that every device has.
const SIDE_BY_SIDE: usize = 64 << 20;

/// The time embedding behind its activation, and what the blocks' dense layers make of it where they are computed all at once.
#[derive(Clone, Debug)]
pub struct TimeEmbedding {
    /// `n c_temb`.
    activated: Value,
    /// The outputs of layers, by the names of their weights.
    outputs: HashMap<String, Columns>,
}

impl From<Value> for TimeEmbedding {
    /// Each block computes its own layer.
    fn from(activated: Value) -> Self {
        Self { activated, outputs: HashMap::new() }
    }
}

impl TimeEmbedding {
    /// With the outputs of `layers` as one product, or as few as bindings allow: there are dozens, and each alone is too small for a GPU.
    pub fn joined(trace: &mut Trace<'_>, activated: Value, layers: &[&Linear]) -> Result<Self> {
        let mut own = Self::from(activated);
        let width = |layer: &Linear| layer.weight.shape[0];
        if layers.iter().any(|layer| !width(layer).is_multiple_of(4)) {
            return Ok(own);
        }
        let bytes = |layer: &Linear| 4 * layer.weight.shape.iter().product::<usize>();
        let mut rest = layers;
        while let [first, others @ ..] = rest {
            let mut total = bytes(first);
            let more = others.iter().take_while(|layer| {
                total += bytes(layer);
                total <= SIDE_BY_SIDE
            });
            let (group, behind) = rest.split_at(1 + more.count());
            rest = behind;
            let mut operands = Vec::with_capacity(group.len());
            for layer in group {
                operands.push([trace.param(&layer.weight)?, trace.param(&layer.bias)?]);
            }
            let of = linear_joined(trace.graph, activated, &operands)?;
            let mut first = 0;
            for layer in group {
                own.outputs.insert(layer.weight.name.clone(), Columns { of, first });
                first += width(layer);
            }
        }
        Ok(own)
    }

    /// The output of a block's layer: `n c_out`.
    pub fn of(&self, trace: &mut Trace<'_>, layer: &Linear) -> Result<Columns> {
        match self.outputs.get(&layer.weight.name) {
            Some(&columns) => Ok(columns),
            None => Ok(layer.forward(trace, self.activated)?.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::nn::Manifest;
    use crate::nn::trace::WEIGHTS;

    #[test]
    fn layers_stand_side_by_side_as_far_as_a_binding_goes() -> Result<()> {
        // Weights of 16, 32, 32, 160 and 4 MiB.
        let widths = [1024, 2048, 2048, 10240, 256];
        let mut manifest = Manifest::default();
        let mut root = manifest.root();
        let layers: Vec<Linear> = (0..)
            .zip(widths)
            .map(|(i, c)| Linear::new(&mut root.at(format!("dense_{i}")), 4096, c))
            .collect();
        let mut graph = Graph::new();
        let temb = graph.input("temb", [2, 4096]);
        let mut trace = Trace::new(&mut graph, WEIGHTS);
        let all: Vec<&Linear> = layers.iter().collect();
        let time = TimeEmbedding::joined(&mut trace, temb, &all)?;
        let columns: Vec<Columns> =
            layers.iter().map(|layer| time.of(&mut trace, layer)).collect::<Result<_>>()?;
        assert_eq!(columns.iter().map(|c| c.first).collect::<Vec<_>>(), [0, 1024, 0, 0, 0]);
        let rows: Vec<usize> = columns.iter().map(|c| graph.shape(c.of).last()).collect();
        assert_eq!(rows, [3072, 3072, 2048, 10240, 256]);
        Ok(())
    }

    #[test]
    fn odd_widths_stay_alone() -> Result<()> {
        let mut manifest = Manifest::default();
        let layer = Linear::new(&mut manifest.root().at("dense"), 8, 6);
        let mut graph = Graph::new();
        let temb = graph.input("temb", [2, 8]);
        let mut trace = Trace::new(&mut graph, WEIGHTS);
        let time = TimeEmbedding::joined(&mut trace, temb, &[&layer])?;
        let own = time.of(&mut trace, &layer)?;
        assert_eq!((own.first, graph.shape(own.of).dims()), (0, &[2, 6][..]));
        Ok(())
    }
}
