//! The starting point of a run alone, for samplers that are not a table of steps.

use super::run::ImageSeed;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::{DType, Draft, DraftOptions, Graph, Resources, Shape};
use crate::ops::elementwise::scale;
use crate::ops::philox::{self, Purpose, Source};

/// x_1 ~ N(0, std²·I) for each of `images`, `images h w c`: what [`Sampler::run`](super::run::Sampler::run) begins with.
///
/// # Errors
/// [`Error::Invalid`] for no image; what the device reports.
pub fn prior(gpu: &Gpu, images: &[ImageSeed], [h, w, c]: [usize; 3], std: f64) -> Result<Vec<f32>> {
    if images.is_empty() {
        return Err(Error::invalid("images", 0, "give at least one"));
    }
    let n = images.len();
    let mut graph = Graph::new();
    let source = Source {
        seed: graph.input_u32("seeds", [n, 2]),
        images: graph.input_u32("images", [n]),
        step: graph.state("step", [1], DType::U32),
    };
    let z = philox::normal(&mut graph, source, Purpose::PRIOR, Shape::from([n, h, w, c]))?;
    let x = scale(&mut graph, z, std as f32)?;
    let draft = Draft::new(&graph, &[x], gpu.capabilities(), DraftOptions::default())?;
    let mut plan = draft.build(gpu, Resources::new())?;
    let seeds: Vec<u32> = images.iter().flat_map(|i| [i.seed as u32, (i.seed >> 32) as u32]).collect();
    let numbers: Vec<u32> = images.iter().map(|i| i.image).collect();
    plan.write_u32(source.seed, &seeds)?;
    plan.write_u32(source.images, &numbers)?;
    plan.run()?;
    plan.read(x)
}
