//! Replaying a step.

use super::{Figure, StepBatch, StepSettings, TrainState, TrainStep};
use crate::error::{Error, Result};
use crate::gpu::Binding;
use crate::graph::{Plan, Value};
use crate::ops::adam::COUNTERS;

/// Steps that may wait in the queue: the host prepares one while the device works on another.
const IN_FLIGHT: usize = 2;

impl TrainStep {
    /// The parameter sets.
    pub fn state(&self) -> &TrainState {
        &self.state
    }

    /// The plan of the gradients, for benchmarks.
    pub fn plan(&mut self) -> &mut Plan {
        &mut self.gradient
    }

    /// What the step is made of.
    pub fn settings(&self) -> &StepSettings {
        &self.settings
    }

    /// Hands one step to the device; does not wait for it.
    ///
    /// # Errors
    /// [`Error::Shape`] when the batch is not the step's; what the device reports.
    pub fn run(&mut self, batch: &StepBatch<'_>) -> Result<()> {
        self.run_watched(batch, None)
    }

    /// [`TrainStep::run`]; `watch`, if any, hears from time to time the share of the step that the device has done.
    ///
    /// # Errors
    /// As [`TrainStep::run`].
    pub fn run_watched(
        &mut self,
        batch: &StepBatch<'_>,
        mut watch: Option<&mut dyn FnMut(f64)>,
    ) -> Result<()> {
        let [n, h, w, c] = self.settings.shape;
        let size = h * w * c;
        let total = self.settings.batch;
        let noise = batch.noise.map_or(batch.images.len(), <[f32]>::len);
        if batch.rows.len() != total || batch.images.len() != total * size || noise != total * size {
            let problem = format!(
                "{} rows, {} elements of images and {noise} of noise for {total} images of {size}",
                batch.rows.len(),
                batch.images.len()
            );
            return Err(Error::shape("training step", problem, "give one batch"));
        }
        let (split, parts) = (total > n, total.div_ceil(n) as f64);
        for (part, rows) in batch.rows.chunks(n).enumerate() {
            let first = part * n;
            let range = first * size..(first + rows.len()) * size;
            if split {
                self.number_images(first)?;
            }
            self.write_padded(self.values.inputs.images, &batch.images[range.clone()], n * size)?;
            if let Some(noise) = batch.noise {
                self.write_padded(self.values.z, &noise[range], n * size)?;
            }
            for (value, data) in self.values.inputs.data(rows, n, total, size, self.settings.reduction) {
                if self.gradient.uses(value) {
                    self.gradient.write(value, &data)?;
                }
            }
            if let Some((value, classes)) = self.values.inputs.classes(rows, n) {
                self.gradient.write_u32(value, &classes)?;
            }
            match &mut watch {
                Some(watch) => {
                    self.gradient.run_watched(&mut |share| watch((part as f64 + share) / parts))?
                }
                None => self.gradient.run()?,
            }
            if split {
                self.add_up(part == 0)?;
            }
        }
        if let Some(split) = &mut self.split {
            split.optimize.run()?;
            // The gradient's plan does not see that another one has moved the weights.
            self.gradient.parameters_changed();
        }
        self.queued.push_back(self.gradient.gpu().submit([])?);
        if self.queued.len() > IN_FLIGHT
            && let Some(oldest) = self.queued.pop_front()
        {
            self.gradient.gpu().wait_for(oldest)?;
        }
        Ok(())
    }

    /// Adds gradients and loss of a micro-batch to the sums; the first one is the sum.
    fn add_up(&mut self, first: bool) -> Result<()> {
        let Some(split) = &mut self.split else { return Ok(()) };
        if !first {
            return split.sum.run();
        }
        if let Some(sums) = &self.state.sums {
            sums.copy_from(&self.state.grads)?;
        }
        let (from, to) =
            (self.gradient.binding(self.values.loss)?, split.optimize.binding(split.batch_loss)?);
        let four = |b: Binding| Binding { size: 4, ..b };
        self.gradient.gpu().copy(&four(from), &four(to))
    }

    /// Writes `data` and, where it is shorter than the input, its beginning again and again: padding costs nothing in the loss.
    fn write_padded(&self, value: Value, data: &[f32], elements: usize) -> Result<()> {
        if data.len() == elements {
            return self.gradient.write(value, data);
        }
        let padded: Vec<f32> = data.iter().copied().cycle().take(elements).collect();
        self.gradient.write(value, &padded)
    }

    /// Tells the device the numbers of the images: their places in the whole batch.
    pub(super) fn number_images(&self, first: usize) -> Result<()> {
        if !self.gradient.uses(self.values.images) {
            return Ok(());
        }
        let numbers: Vec<u32> = (0..self.settings.shape[0]).map(|i| (first + i) as u32).collect();
        self.gradient.write_u32(self.values.images, &numbers)
    }

    /// The plan that holds the optimizer.
    fn optimizer(&self) -> &Plan {
        self.split.as_ref().map_or(&self.gradient, |s| &s.optimize)
    }

    /// Waits for the device and reads what it says; the sums begin anew.
    pub fn figure(&mut self) -> Result<Figure> {
        self.queued.clear();
        let plan = self.optimizer();
        let first = |data: Vec<f32>| data.first().copied().map_or(0.0, f64::from);
        let one = |value| -> Result<f64> { Ok(first(plan.read(value)?)) };
        let counters = plan.read_u32(self.totals.counters)?;
        let figure = Figure {
            loss: one(self.totals.loss)?,
            grad_norm: one(self.totals.norm)?,
            loss_sum: one(self.totals.sums[0])?,
            grad_norm_sum: one(self.totals.sums[1])?,
            accuracy_sum: self.values.accuracy_sum.map(|sum| self.gradient.read(sum)).transpose()?.map(first),
            steps: counters.first().copied().unwrap_or(0).into(),
            updates: counters.get(1).copied().unwrap_or(0).into(),
            skipped: counters.get(2).copied().unwrap_or(0).into(),
        };
        for sum in self.totals.sums {
            plan.write(sum, &[0.0])?;
        }
        if let Some(sum) = self.values.accuracy_sum {
            self.gradient.write(sum, &[0.0])?;
        }
        Ok(figure)
    }

    /// Sets the counters, as a run that goes on must: steps done, updates, steps skipped.
    pub fn set_counters(&mut self, counters: [u32; COUNTERS]) -> Result<()> {
        self.optimizer().write_u32(self.totals.counters, &counters)
    }

    /// Says that weights were written from outside.
    pub fn parameters_changed(&mut self) {
        self.gradient.parameters_changed();
    }
}
