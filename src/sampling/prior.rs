//! Draws of a run alone: the starting point for samplers that are not a table of steps, the probe of a likelihood.

use super::run::ImageSeed;
use crate::error::{Error, Result};
use crate::gpu::{Gpu, blocking};
use crate::graph::{DType, Draft, DraftOptions, Graph, Resources, Shape, Value};
use crate::ops::elementwise::scale;
use crate::ops::philox::{self, Purpose, Source};

/// x_1 ~ N(0, std²·I) for each of `images`, `images h w c`: what [`Sampler::run`](super::run::Sampler::run) begins with.
///
/// # Errors
/// [`Error::Invalid`] for no image; what the device reports.
pub async fn prior_async(gpu: &Gpu, images: &[ImageSeed], hwc: [usize; 3], std: f64) -> Result<Vec<f32>> {
    draw_async(gpu, images, hwc, |graph, source, shape| {
        let z = philox::normal(graph, source, Purpose::PRIOR, shape)?;
        scale(graph, z, std as f32)
    })
    .await
}

/// [`prior_async`], blocking the thread.
///
/// # Errors
/// As [`prior_async`].
pub fn prior(gpu: &Gpu, images: &[ImageSeed], hwc: [usize; 3], std: f64) -> Result<Vec<f32>> {
    blocking(prior_async(gpu, images, hwc, std))
}

/// The distribution of the probe of a trace estimate, of mean 0 and covariance I.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Probe {
    /// ±1 with equal chance; of all probes the one of least variance (Hutchinson 1989).
    #[default]
    Rademacher,
    /// Normal (Skilling 1989).
    Gaussian,
}

/// A probe for each of `images`, `images h w c`; `number` tells repeated draws apart.
///
/// # Errors
/// As [`prior_async`].
pub async fn probe_async(
    gpu: &Gpu,
    images: &[ImageSeed],
    hwc: [usize; 3],
    kind: Probe,
    number: usize,
) -> Result<Vec<f32>> {
    let purpose = Purpose::PROBE.at(number);
    draw_async(gpu, images, hwc, |graph, source, shape| match kind {
        Probe::Rademacher => philox::rademacher(graph, source, purpose, shape),
        Probe::Gaussian => philox::normal(graph, source, purpose, shape),
    })
    .await
}

/// [`probe_async`], blocking the thread.
///
/// # Errors
/// As [`prior_async`].
pub fn probe(
    gpu: &Gpu,
    images: &[ImageSeed],
    hwc: [usize; 3],
    kind: Probe,
    number: usize,
) -> Result<Vec<f32>> {
    blocking(probe_async(gpu, images, hwc, kind, number))
}

async fn draw_async(
    gpu: &Gpu,
    images: &[ImageSeed],
    [h, w, c]: [usize; 3],
    trace: impl FnOnce(&mut Graph, Source, Shape) -> Result<Value>,
) -> Result<Vec<f32>> {
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
    let x = trace(&mut graph, source, Shape::from([n, h, w, c]))?;
    let draft = Draft::new(&graph, &[x], gpu.capabilities(), DraftOptions::default())?;
    let mut plan = draft.build_async(gpu, Resources::new()).await?;
    let seeds: Vec<u32> = images.iter().flat_map(|i| [i.seed as u32, (i.seed >> 32) as u32]).collect();
    let numbers: Vec<u32> = images.iter().map(|i| i.image).collect();
    plan.write_u32(source.seed, &seeds)?;
    plan.write_u32(source.images, &numbers)?;
    plan.run_async().await?;
    plan.read_async(x).await
}
