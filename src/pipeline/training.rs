//! A model from pictures.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::progress::Stop;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::Kernels;
use crate::models::config::{self, ModelName, Sde as SdeName};
use crate::models::{self, Config, Network};
use crate::sde::Sde;
use crate::training::{Event, Learns, Objective, Outcome, SampleOptions, Trainer, TrainerOptions};

/// A run of training in a work folder: it goes on from the folder's checkpoint where there is one, bit for bit as if it had never
/// stopped. What a configuration says, methods say here: [`Training::set`] takes any of its keys.
///
/// ```no_run
/// use langevin::data::Dataset;
/// use langevin::gpu::Gpu;
/// use langevin::models::presets;
/// use langevin::pipeline::Training;
/// use langevin::training::Event;
///
/// # fn main() -> langevin::Result<()> {
/// let gpu = Gpu::open_default()?;
/// let config = presets::get("ve/cifar10_ncsnpp_continuous")?;
/// let data = Dataset::pictures("photos/", 32, 3)?;
/// let outcome = Training::of_config(&gpu, config, data)?.batch(16).folder("runs/mine").run(|event| {
///     if let Event::Logged(figures) = event {
///         eprintln!("{} {:.4}", figures.step, figures.loss);
///     }
/// })?;
/// println!("{} steps", outcome.step);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Training {
    gpu: Gpu,
    config: Config,
    network: Box<dyn Network>,
    /// None where the configuration names it.
    sde: Option<Arc<dyn Sde>>,
    data: Arc<Dataset>,
    folder: PathBuf,
    options: TrainerOptions,
    stop: Stop,
    problem: Option<Error>,
}

/// The work folder unless told otherwise.
const FOLDER: &str = "runs/model";

impl Training {
    /// Trains a network of your own on images of a data set, for an SDE of this library or your own, by denoising score matching over
    /// continuous time (equation 7 of Song et al. 2021). Unless told otherwise: 20,000 steps of 32 images, Adam at 2e-4 with 500 steps of
    /// warmup, an average of rate 0.999, images in [-1, 1] and mirrored at random. What is wrong is told by [`Training::prepare`].
    pub fn new(
        gpu: &Gpu,
        network: impl Network + 'static,
        sde: impl Sde + 'static,
        data: Arc<Dataset>,
    ) -> Self {
        let mut config = Config::of(ModelName::Custom);
        let sde: Arc<dyn Sde> = Arc::new(sde);
        config.training.sde = match sde.parameters() {
            Some(p) => {
                let m = &mut config.model;
                (m.sigma_min, m.sigma_max, m.beta_min, m.beta_max) =
                    (p.sigma_min, p.sigma_max, p.beta_min, p.beta_max);
                sde.name().parse().unwrap_or(SdeName::Custom)
            }
            None => SdeName::Custom,
        };
        config.model.num_scales = sde.n();
        config.model.ema_rate = 0.999;
        let images = data.preprocess();
        (config.data.image_size, config.data.num_channels) =
            (images.image_size as usize, images.channels as usize);
        config.data.centered = true;
        config.data.dataset = config::Dataset::Images;
        config.optim.warmup = 500;
        config.training.n_iters = 20_000;
        config.training.batch_size = 32;
        config.training.reduce_mean = true;
        config.training.continuous = true;
        Self::of(gpu, config, Box::new(network), Some(sde), data)
    }

    /// Trains the network of a configuration by its loss.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Shape`] where no network can be built from it.
    pub fn of_config(gpu: &Gpu, config: Config, data: Arc<Dataset>) -> Result<Self> {
        let network = models::build(&config)?;
        Ok(Self::of(gpu, config, network, None, data))
    }

    fn of(
        gpu: &Gpu,
        config: Config,
        network: Box<dyn Network>,
        sde: Option<Arc<dyn Sde>>,
        data: Arc<Dataset>,
    ) -> Self {
        let options = TrainerOptions {
            samples: Some(SampleOptions { steps: Some(20), ..SampleOptions::default() }),
            log_every: Some(Duration::from_secs(30)),
            save_every: Some(Duration::from_secs(600)),
            ..TrainerOptions::default()
        };
        let (gpu, folder, stop) = (gpu.clone(), FOLDER.into(), Stop::default());
        Self { gpu, config, network, sde, data, folder, options, stop, problem: None }
    }

    /// The work folder: checkpoints, log, grids of samples; `runs/model` unless told otherwise.
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = folder.into();
        self
    }

    /// Steps to reach.
    pub fn steps(mut self, steps: u64) -> Self {
        self.config.training.n_iters = steps;
        self
    }

    /// Images of a step.
    pub fn batch(mut self, batch: usize) -> Self {
        self.config.training.batch_size = batch;
        self
    }

    /// The learning rate.
    pub fn rate(mut self, rate: f64) -> Self {
        self.config.optim.lr = rate;
        self
    }

    /// The seed of weights, noise and order.
    pub fn seed(mut self, seed: u64) -> Self {
        self.config.seed = seed;
        self
    }

    /// Any key of a configuration, as in `set("optim.grad_clip", "0.5")`.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        if let Err(error) = self.config.set(key, value) {
            self.problem.get_or_insert(error);
        }
        self
    }

    /// Saves when so much time has passed since the last save, ten minutes unless told otherwise.
    pub fn save_every(mut self, time: Duration) -> Self {
        self.options.save_every = Some(time);
        self
    }

    /// The grids of samples that are drawn on the way.
    pub fn samples(mut self, samples: Option<SampleOptions>) -> Self {
        self.options.samples = samples;
        self
    }

    /// Activations are computed again in the backward pass rather than kept: less memory, more work, the same bits.
    pub fn recompute(mut self, recompute: bool) -> Self {
        self.options.recompute = recompute;
        self
    }

    /// How kernels are chosen where the checkpoint records none.
    pub fn kernels(mut self, kernels: Kernels) -> Self {
        self.options.kernels = kernels;
        self
    }

    /// Everything else of how the run is done.
    pub fn options(mut self, change: impl FnOnce(&mut TrainerOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// Ends after the step at hand when `stop` says so, and saves.
    pub fn until(mut self, stop: &Stop) -> Self {
        self.stop = stop.clone();
        self
    }

    /// Opens the work folder and prepares the step.
    ///
    /// # Errors
    /// Those of [`Training::set`]; [`Error::Locked`] when another run holds the folder; [`Error::Invalid`] when its checkpoint is of
    /// another model or a setting is out of range; [`Error::Limit`] when one image does not fit the device.
    pub fn prepare(self) -> Result<Trainer> {
        let Self { gpu, config, network, sde, data, folder, options, problem, .. } = self;
        if let Some(problem) = problem {
            return Err(problem);
        }
        config.validate()?;
        let (sde, objective) = match sde {
            Some(sde) => {
                let weighted = config.training.likelihood_weighting;
                (Arc::clone(&sde), Objective::denoising(sde, network.conditioning(), weighted))
            }
            None => (config.forward_sde()?, Objective::of(&config)?),
        };
        Trainer::of(&gpu, Learns { config, network, sde, objective }, data, folder, options)
    }

    /// Trains until all steps are done, and saves. `listen` hears what happens.
    ///
    /// # Errors
    /// As [`Training::prepare`] and [`Trainer::run`].
    pub fn run(self, mut listen: impl FnMut(Event<'_>)) -> Result<Outcome> {
        let stop = self.stop.clone();
        let mut trainer = self.prepare()?;
        trainer.run(&mut |event: Event<'_>| {
            listen(event);
            !stop.is_stopped()
        })
    }
}
