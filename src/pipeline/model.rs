//! A model on a device: a network, its weights, its SDE, and how images become what it takes.

use std::sync::{Arc, OnceLock};

use super::flow::Flow;
use super::images::Images;
use super::inverse::{Mask, Restoration};
use super::likelihood::Likelihood;
use super::sampling::Sampling;
use crate::checkpoint::{SavedModel, Which};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, blocking};
use crate::graph::{Drafts, Kernels};
use crate::models::config::Sde as SdeName;
use crate::models::{Config, Network, Weights};
use crate::output::Provenance;
use crate::sampling::solvers::{Problem, Solver};
use crate::score::ModelScore;
use crate::sde::{Sde, TimeConditioning};
use crate::training::problem_with;

/// A network with its weights, and what samplers have to know of it. Made by [`Pretrained`](super::Pretrained).
#[derive(Debug)]
pub struct Model {
    gpu: Gpu,
    saved: SavedModel,
    which: Which,
    /// The error is the reason why the weights have none.
    sde: std::result::Result<Arc<dyn Sde>, String>,
    kernels: Kernels,
    weights: OnceLock<Weights>,
    /// The checksum of the weights, which are read for it once.
    checksum: OnceLock<u64>,
}

impl Model {
    /// What is read, for a device; the weights go there when they are first needed.
    ///
    /// # Errors
    /// [`Error::Invalid`] for constants of the SDE outside their range.
    pub fn new(gpu: &Gpu, saved: SavedModel, which: Which) -> Result<Self> {
        let sde = match &saved.no_sde {
            Some(reason) => Err(reason.clone()),
            None if saved.config.training.sde == SdeName::Custom => {
                Err("its SDE is that of another program, which has to bring it".to_owned())
            }
            None => Ok(saved.config.forward_sde()?),
        };
        let (gpu, kernels) = (gpu.clone(), Kernels::default());
        Ok(Self { gpu, saved, which, sde, kernels, weights: OnceLock::new(), checksum: OnceLock::new() })
    }

    /// The same with an SDE of your own.
    pub fn with_sde(mut self, sde: Arc<dyn Sde>) -> Self {
        self.sde = Ok(sde);
        self
    }

    /// The same with kernels chosen in another way than by the written order.
    pub fn with_kernels(mut self, kernels: Kernels) -> Self {
        self.kernels = kernels;
        self
    }

    /// Draws images by a solver; see [`crate::sampling::solvers`].
    pub fn sampler(&self, solver: impl Solver + 'static) -> Sampling<'_> {
        self.sampler_of(Arc::new(solver))
    }

    /// [`Model::sampler`] with a solver that was chosen at run time.
    pub fn sampler_of(&self, solver: Arc<dyn Solver>) -> Sampling<'_> {
        Sampling::new(self, solver)
    }

    /// Images to latents and back by the probability-flow ODE.
    pub fn flow(&self) -> Flow<'_> {
        Flow::new(self)
    }

    /// Bits per dimension of images.
    pub fn likelihood(&self) -> Likelihood<'_> {
        Likelihood::new(self)
    }

    /// The loss on images that were not trained on.
    #[cfg(feature = "files")]
    pub fn evaluation(&self) -> super::Evaluating<'_> {
        super::Evaluating::new(self)
    }

    /// Draws anew what `mask` does not know of the images, which have this model's size.
    ///
    /// # Errors
    /// [`Error::Shape`] where images or mask have another size; [`Error::Invalid`] where all or nothing is known.
    pub fn inpaint<'m>(&'m self, images: &Images, mask: &Mask) -> Result<Restoration<'m>> {
        Restoration::inpaint(self, images, mask)
    }

    /// Draws colours for the grey values of the images, which have this model's size.
    ///
    /// # Errors
    /// [`Error::Shape`] where the images have another size; [`Error::Invalid`] where the model has one channel.
    pub fn colorize<'m>(&'m self, images: &Images) -> Result<Restoration<'m>> {
        Restoration::colorize(self, images)
    }

    /// Reads images and fits them to the model by the recipe of its training.
    #[cfg(feature = "files")]
    pub fn read(&self, path: impl Into<std::path::PathBuf>) -> super::ReadImages {
        super::ReadImages::new(path, &self.saved)
    }

    /// How pictures become what the model takes: as its file says, else as its configuration does.
    ///
    /// # Errors
    /// [`Error::Invalid`] for sizes and channels that no picture has.
    #[cfg(feature = "files")]
    pub fn recipe(&self) -> Result<crate::data::Preprocess> {
        super::read::recipe(&self.saved)
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// What was read of the file.
    pub fn saved(&self) -> &SavedModel {
        &self.saved
    }

    /// What the weights are: a path, or the name of embedded ones.
    pub fn name(&self) -> &str {
        &self.saved.name
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.saved.config
    }

    /// The network.
    pub fn network(&self) -> &dyn Network {
        self.saved.network.as_ref()
    }

    /// Training steps done, where the file says.
    pub fn step(&self) -> Option<u64> {
        self.saved.step
    }

    /// Whether the weights are a moving average.
    pub fn is_averaged(&self) -> bool {
        self.saved.has_ema() && self.which == Which::Ema
    }

    /// Height, width and channels of its images.
    pub fn image_shape(&self) -> [usize; 3] {
        let data = &self.saved.config.data;
        [data.image_size, data.image_size, data.num_channels]
    }

    /// The forward SDE.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the reason where the weights have none of ours: only the scheduler of their folder can sample them.
    pub fn sde(&self) -> Result<&Arc<dyn Sde>> {
        self.sde.as_ref().map_err(|reason| Error::invalid("model", self.name(), reason))
    }

    /// What the network is told about time, and what its output is.
    pub fn conditioning(&self) -> TimeConditioning {
        self.network().conditioning()
    }

    /// What pictures and tensors that come from it say of it: its name, the checksum of its weights, its configuration, the device.
    ///
    /// # Errors
    /// Those of reading the weights.
    pub fn provenance(&self) -> Result<Provenance> {
        let adapter = self.gpu.adapter();
        let checksum = match self.checksum.get() {
            Some(checksum) => *checksum,
            None => {
                let checksum = self.saved.tensors(self.which).checksum()?;
                *self.checksum.get_or_init(|| checksum)
            }
        };
        Ok(Provenance::new()
            .with("model", self.name())
            .with("weights", format!("{checksum:016x}"))
            .with("config", self.saved.config.to_toml())
            .with("adapter", format!("{}, {}", adapter.name, adapter.driver)))
    }

    pub(super) fn centered(&self) -> bool {
        self.saved.config.data.centered
    }

    pub(super) fn kernels(&self) -> &Kernels {
        &self.kernels
    }

    /// The weights on the device.
    pub(super) async fn weights_async(&self) -> Result<&Weights> {
        if let Some(weights) = self.weights.get() {
            return Ok(weights);
        }
        let weights = self.saved.upload_async(&self.gpu, self.which).await?;
        Ok(self.weights.get_or_init(|| weights))
    }

    pub(super) fn weights(&self) -> Result<&Weights> {
        blocking(self.weights_async())
    }

    /// The score; `raw` for solvers that take the network's own prediction in its place.
    pub(super) fn score(&self, raw: bool) -> ModelScore<'_> {
        let sde = self.sde.as_ref().ok().filter(|_| !raw);
        ModelScore::new(self.network(), sde.map(|sde| sde.as_ref()))
    }

    /// What a solver may know of it.
    ///
    /// # Errors
    /// [`Error::UnknownName`] where the configuration names no known solver.
    pub fn problem(&self) -> Result<Problem> {
        let time = self.conditioning();
        let problem = match &self.sde {
            Ok(sde) => Problem::new(Arc::clone(sde), time),
            Err(reason) => Problem::without_sde(self.name(), reason, time),
        };
        problem_with(self.config(), problem)
    }

    /// An error unless the images have the size of the model's.
    pub(super) fn check_images(&self, images: &Images) -> Result<()> {
        let [h, w, c] = self.image_shape();
        if images.shape()[1..] == [h, w, c] {
            return Ok(());
        }
        let problem = format!(
            "images of shape {:?} where the model takes n x {h} x {w} x {c} (n h w c)",
            images.shape()
        );
        Err(Error::shape("images", problem, "read them with Model::read, which fits them"))
    }

    /// The largest of `asked`, a half of it, a quarter …, that the device has room for, and what `draft` makes of it. One image that is
    /// too large is the error.
    pub(super) fn that_fits<T>(
        &self,
        asked: usize,
        mut draft: impl FnMut(usize) -> Result<(T, u64)>,
    ) -> Result<(usize, T)> {
        let mut n = asked.max(1);
        loop {
            // A single image is tried in any case.
            let fits = draft(n).and_then(|(draft, bytes)| match n {
                1 => Ok(draft),
                _ => self.gpu.adapter().check_room("the plan", bytes).map(|()| draft),
            });
            match fits {
                Err(Error::Limit { .. }) if n > 1 => n = n.div_ceil(2),
                Err(error) => return Err(error),
                Ok(draft) => {
                    if n < asked {
                        tracing::info!(
                            "{asked} images at a time are too many for this device: {n} are taken"
                        );
                    }
                    return Ok((n, draft));
                }
            }
        }
    }

    /// Drafts with their kernels chosen.
    pub(super) fn tuned<D: Drafts>(&self, draft: D) -> Result<D> {
        draft.tuned(self.kernels.tuner.as_ref())
    }
}
