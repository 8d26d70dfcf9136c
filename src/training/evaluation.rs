//! The loss on images that are not trained on: one replayed plan, no dropout, the same draws at every evaluation.

use super::classes::labelled;
use super::loss::{Loss, LossInputs, Objective, Reduction, Row};
use super::step::StepSettings;
use crate::data::Loader;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::graph::{DType, Draft, DraftOptions, Graph, ParameterSet, Plan, Resources, Shape, Value};
use crate::models::Network;
use crate::nn::Trace;
use crate::nn::trace::WEIGHTS;
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
    accuracy: Option<Value>,
    shape: [usize; 4],
    reduction: Reduction,
    seed: u64,
    recorded: bool,
}

impl Evaluation {
    /// The loss of batches of the shape of `settings` (`n h w c`) under the parameters of `weights` and `fixed`. The optimizer plays no part.
    /// `settle` gives the draft its kernels.
    ///
    /// # Errors
    /// What the network and the device say.
    pub fn new(
        gpu: &Gpu,
        network: &dyn Network,
        weights: &ParameterSet,
        fixed: &ParameterSet,
        settings: &StepSettings,
        settle: impl FnOnce(&Draft) -> Result<Draft>,
    ) -> Result<Self> {
        let StepSettings { shape, reduction, seed, recorded_noise, .. } = *settings;
        let mut graph = Graph::new();
        let g = &mut graph;
        let full = Shape::from(shape);
        let inputs = LossInputs::new(g, &full, reduction, network.conditioning());
        let step = g.state("batch number", [1], DType::U32);
        let source =
            Source { seed: g.input_u32("seed", [2]), images: g.input_u32("image numbers", [shape[0]]), step };
        let z = match recorded_noise {
            true => g.input("noise", full),
            false => philox::normal(g, source, Purpose::PERTURBATION.at(STREAM), full)?,
        };
        let x = inputs.perturbed(g, z)?;
        let output = network.forward(&mut Trace::new(g, WEIGHTS), x, inputs.argument)?;
        let Loss { loss, accuracy, .. } = inputs.loss(g, output, z)?;
        let kept: Vec<Value> = [Some(loss), accuracy].into_iter().flatten().collect();
        let options = DraftOptions { choice: settings.choice.clone(), ..DraftOptions::default() };
        let draft = settle(&Draft::new(g, &kept, gpu.capabilities(), options)?)?;
        let plan = draft.build(gpu, Resources::new().set("weights", weights).set("fixed", fixed))?;
        if !recorded_noise {
            plan.write_u32(source.seed, &[seed as u32, (seed >> 32) as u32])?;
            let numbers: Vec<u32> = (0..shape[0] as u32).collect();
            plan.write_u32(source.images, &numbers)?;
        }
        let recorded = recorded_noise;
        Ok(Self { plan, inputs, z, source, loss, accuracy, shape, reduction, seed, recorded })
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
        if let Some((value, classes)) = self.inputs.classes(rows, n) {
            self.plan.write_u32(value, &classes)?;
        }
        self.plan.run()?;
        Ok(self.plan.read(self.loss)?.first().copied().map_or(f64::NAN, f64::from))
    }

    /// The mean loss of all batches of `images`, and of a classifier the accuracy.
    ///
    /// # Errors
    /// What the data and the device report.
    pub fn over(&mut self, objective: &Objective, images: &mut Loader) -> Result<(f64, Option<f64>)> {
        let (mut sum, mut found, mut count, mut number) = (0.0, None, 0, 0);
        while let Some(batch) = images.next_batch()? {
            let n = batch.shape[0];
            let rows = labelled(self.rows(objective, number, n)?, &batch.labels);
            sum += n as f64 * self.loss(number, batch.as_f32().unwrap_or_default(), &rows, None)?;
            found = self.accuracy()?.map(|share| found.unwrap_or(0.0) + n as f64 * share);
            count += n;
            number += 1;
        }
        let count = count.max(1) as f64;
        Ok((sum / count, found.map(|found: f64| found / count)))
    }

    /// Of a classifier: the share of the images of the last batch whose class it found.
    ///
    /// # Errors
    /// What the device reports.
    pub fn accuracy(&self) -> Result<Option<f64>> {
        let read = self.accuracy.map(|value| self.plan.read(value)).transpose()?;
        Ok(read.and_then(|data| data.first().copied()).map(f64::from))
    }
}
