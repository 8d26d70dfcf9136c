//! The loss on images that are not trained on: one replayed plan, no dropout, the same draws at every evaluation.

use super::loss::{LossInputs, Objective, Reduction, Row};
use super::step::{StepSettings, Trainable};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::graph::{DType, Draft, DraftOptions, Graph, ParameterSet, Plan, Resources, Shape, Value};
use crate::ops::philox::{self, Purpose, Source};
use crate::random::Stream;

/// The streams of evaluation are none of training's.
const STREAM: usize = 1;

/// A loss on a device.
#[derive(Debug)]
pub struct Evaluation {
    plan: Plan,
    inputs: LossInputs,
    z: Value,
    source: Source,
    loss: Value,
    shape: [usize; 4],
    reduction: Reduction,
    seed: u64,
    recorded: bool,
}

impl Evaluation {
    /// The loss of batches of the shape of `settings` (`n h w c`) under the parameters of `weights` and `fixed`. The optimizer plays no part.
    ///
    /// # Errors
    /// What the network and the device say.
    pub fn new(
        gpu: &Gpu,
        network: &dyn Trainable,
        weights: &ParameterSet,
        fixed: &ParameterSet,
        settings: &StepSettings,
    ) -> Result<Self> {
        let StepSettings { shape, reduction, seed, recorded_noise, .. } = *settings;
        let mut graph = Graph::new();
        let g = &mut graph;
        let full = Shape::from(shape);
        let inputs = LossInputs::new(g, &full);
        let step = g.state("batch number", [1], DType::U32);
        let source =
            Source { seed: g.input_u32("seed", [2]), images: g.input_u32("image numbers", [shape[0]]), step };
        let z = match recorded_noise {
            true => g.input("noise", full),
            false => philox::normal(g, source, Purpose::PERTURBATION.at(STREAM), full)?,
        };
        let x = inputs.perturbed(g, z)?;
        let output = network.output(g, x, inputs.argument, None)?;
        let loss = inputs.loss(g, output, z)?.loss;
        let options = DraftOptions { choice: settings.choice.clone(), ..DraftOptions::default() };
        let draft = Draft::new(g, &[loss], gpu.capabilities(), options)?;
        let plan = draft.build(gpu, Resources::new().set("weights", weights).set("fixed", fixed))?;
        if !recorded_noise {
            plan.write_u32(source.seed, &[seed as u32, (seed >> 32) as u32])?;
            let numbers: Vec<u32> = (0..shape[0] as u32).collect();
            plan.write_u32(source.images, &numbers)?;
        }
        Ok(Self { plan, inputs, z, source, loss, shape, reduction, seed, recorded: recorded_noise })
    }

    /// The levels of batch `number`, always the same.
    ///
    /// # Errors
    /// What [`Objective::row`] says.
    pub fn rows(&self, objective: &Objective, number: u32, images: usize) -> Result<Vec<Row>> {
        let mut stream = Stream::new(self.seed, Purpose::TIME.at(STREAM).word(), number);
        (0..images).map(|_| objective.row(objective.draw(&mut stream))).collect()
    }

    /// The mean loss of batch `number`: as many images as there are `rows`, at most the plan's batch.
    ///
    /// # Errors
    /// What the device reports.
    pub fn loss(&mut self, number: u32, images: &[f32], rows: &[Row], noise: Option<&[f32]>) -> Result<f64> {
        let [n, h, w, c] = self.shape;
        let size = h * w * c;
        let padded = |data: &[f32]| -> Vec<f32> { data.iter().copied().cycle().take(n * size).collect() };
        // Weights change between evaluations.
        self.plan.parameters_changed();
        self.plan.write(self.inputs.images, &padded(images))?;
        match noise {
            Some(noise) => self.plan.write(self.z, &padded(noise))?,
            None if !self.recorded => self.plan.write_u32(self.source.step, &[number])?,
            None => {}
        }
        for (value, data) in self.inputs.data(rows, n, rows.len(), size, self.reduction) {
            if self.plan.uses(value) {
                self.plan.write(value, &data)?;
            }
        }
        self.plan.run()?;
        Ok(self.plan.read(self.loss)?.first().copied().map_or(f64::NAN, f64::from))
    }
}
