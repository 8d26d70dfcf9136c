//! The loss on images that were not trained on.

use super::model::Model;
use crate::data::{Dataset, Loader, LoaderConfig, LoaderState, Split, Values};
use crate::error::Result;
use crate::models::config::ModelName;
use crate::training::{Evaluation, Objective, Reduction, StepSettings, adam_of};

/// The mean loss of a model on a part of a data set: the objective of its configuration with the same draws each time, so that two models of
/// one objective can be compared. Made by [`Model::evaluation`].
///
/// ```
/// use langevin::data::{Dataset, Preprocess};
/// use langevin::gpu::Gpu;
/// use langevin::pipeline::Pretrained;
///
/// # fn main() -> langevin::Result<()> {
/// let gpu = Gpu::open_default()?;
/// let model = Pretrained::embedded().load(&gpu)?;
/// let black = Dataset::from_pixels(vec![0; 2 * 32 * 32], Preprocess::new(32, 1)?, &[], &[])?;
/// let evaluated = model.evaluation().batch(2).of(&black.into())?;
/// assert!(evaluated.loss.is_finite() && evaluated.accuracy.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Evaluating<'m> {
    model: &'m Model,
    batch: usize,
    split: Split,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Evaluated {
    /// The mean loss over images.
    pub loss: f64,
    /// Of a classifier: the share of the noisy images whose class it found.
    pub accuracy: Option<f64>,
}

impl<'m> Evaluating<'m> {
    pub(super) fn new(model: &'m Model) -> Self {
        Self { model, batch: super::sampling::BATCH, split: Split::All }
    }

    /// Images that are taken together, 16 unless told otherwise.
    pub fn batch(mut self, batch: usize) -> Self {
        self.batch = batch;
        self
    }

    /// The part of the data set, all of it unless told otherwise.
    pub fn split(mut self, split: Split) -> Self {
        self.split = split;
        self
    }

    /// Measures the images, each once.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) where the data set has another size or no such part, or the configuration has no loss; what the
    /// device reports.
    pub fn of(&self, data: &std::sync::Arc<Dataset>) -> Result<Evaluated> {
        let (model, config) = (self.model, self.model.config());
        let [h, w, c] = model.image_shape();
        crate::training::check_data(config, data)?;
        let objective = match config.model.name {
            ModelName::Custom => {
                let weighted = config.training.likelihood_weighting;
                Objective::denoising(model.sde()?.clone(), model.conditioning(), weighted)
            }
            _ => Objective::of(config)?,
        };
        let images = data.subset(self.split)?;
        let batch = self.batch.clamp(1, images.len().max(1));
        let settings = StepSettings {
            shape: [batch, h, w, c],
            batch,
            reduction: Reduction::of(config),
            adam: adam_of(config),
            seed: config.seed,
            recorded_noise: false,
            recompute: false,
            choice: model.kernels().choice.clone(),
        };
        let weights = model.weights()?;
        let mut evaluation = Evaluation::new(
            model.gpu(),
            model.network(),
            &weights.trained,
            &weights.fixed,
            &settings,
            |draft| match &model.kernels().tuner {
                Some(tuner) => tuner.tuned(draft),
                None => Ok(draft.clone()),
            },
        )?;
        let mut loading = LoaderConfig::evaluation(batch);
        loading.values = Values::F32 { dequantize: false, centered: config.data.centered };
        let mut loader = Loader::new(images, loading, LoaderState::default())?;
        let (loss, accuracy) = evaluation.over(&objective, &mut loader)?;
        Ok(Evaluated { loss, accuracy })
    }
}
