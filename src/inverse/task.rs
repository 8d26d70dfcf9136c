//! An inverse problem as a sampler takes it: what is known, in the sampler's graph and at its start.

use super::{KnownData, XMean};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::{Draft, DraftOptions, Graph, Resources, Shape};
use crate::sampling::pc::{Constrain, Imposed};
use crate::sampling::prior::prior;
use crate::sampling::run::ImageSeed;

/// What is known of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// The pixels where a mask is 1. The inputs are the data and the mask, `n h w c` each.
    Pixels,
    /// The grey value. The input is the data, `n h w 3`; only its grey value counts.
    Grey,
}

/// Inpainting or colorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// What is known.
    pub known: Known,
    /// What x_mean becomes where the data is not known.
    pub x_mean: XMean,
}

impl Task {
    fn build(&self, graph: &mut Graph, shape: &Shape) -> Result<(KnownData, Imposed)> {
        let data = graph.input("known data", shape.clone());
        let (known, inputs) = match self.known {
            Known::Pixels => {
                let mask = graph.input("mask", shape.clone());
                (KnownData::inpaint(graph, data, mask, self.x_mean)?, vec![data, mask])
            }
            Known::Grey => (KnownData::colorize(graph, data, self.x_mean)?, vec![data]),
        };
        Ok((known, Imposed { constraint: Box::new(known), inputs }))
    }

    /// Where a run begins: the known part of the data, and elsewhere the draw from the prior that [`Sampler::run`] begins with.
    /// `contents` are the inputs of [`Known`] for one image of `hwc` per seed.
    ///
    /// [`Sampler::run`]: crate::sampling::run::Sampler::run
    ///
    /// # Errors
    /// [`Error::Invalid`] for another number of inputs, [`Error::Shape`] for one of another size, what the device reports.
    pub fn start(
        &self,
        gpu: &Gpu,
        images: &[ImageSeed],
        [h, w, c]: [usize; 3],
        prior_std: f64,
        contents: &[&[f32]],
    ) -> Result<Vec<f32>> {
        let shape = Shape::from([images.len(), h, w, c]);
        let mut graph = Graph::new();
        let drawn = graph.input("prior", shape.clone());
        let (known, imposed) = self.build(&mut graph, &shape)?;
        if imposed.inputs.len() != contents.len() {
            let problem = format!("the problem takes {}", imposed.inputs.len());
            return Err(Error::invalid("known data", contents.len(), problem));
        }
        let x = known.start(&mut graph, drawn)?;
        let draft = Draft::new(&graph, &[x], gpu.capabilities(), DraftOptions::default())?;
        let mut plan = draft.build(gpu, Resources::new())?;
        plan.write(drawn, &prior(gpu, images, [h, w, c], prior_std)?)?;
        for (input, data) in imposed.inputs.iter().zip(contents) {
            plan.write(*input, data)?;
        }
        plan.run()?;
        plan.read(x)
    }
}

impl Constrain for Task {
    fn constrain(&self, graph: &mut Graph, shape: &Shape) -> Result<Imposed> {
        Ok(self.build(graph, shape)?.1)
    }
}
