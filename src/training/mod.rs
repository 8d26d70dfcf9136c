//! Training: objectives, the step as one replayed plan, the loop around it.
//!
//! [`Trainer`] is what a program uses: a configuration, a data set and a work folder in, checkpoints, metrics and grids of samples out.
//! It goes on from the folder's last checkpoint by default, bit for bit as if it had never stopped.
//!
//! ```
//! use langevin::data::{Dataset, Preprocess};
//! use langevin::gpu::Gpu;
//! use langevin::models::Config;
//! use langevin::training::{Event, Trainer, TrainerOptions};
//!
//! # fn main() -> langevin::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let folder = folder.path().join("run");
//! let mut config = Config::default();
//! for (key, value) in [("data.image_size", "16"), ("model.nf", "32"), ("model.ch_mult", "[1, 1]"), ("training.batch_size", "2")] {
//!     config.set(key, value)?;
//! }
//! config.set("training.n_iters", "2")?;
//! let pixels = vec![127; 8 * 16 * 16 * 3];
//! let data = Dataset::from_pixels(pixels, Preprocess::new(16, 3)?, &[], &[])?;
//! let gpu = Gpu::open_default()?;
//! let options = TrainerOptions { samples: None, ..TrainerOptions::default() };
//! let mut trainer = Trainer::new(&gpu, config, data.into(), &folder, options)?;
//! let outcome = trainer.run(&mut |event: Event<'_>| {
//!     if let Event::Logged(figures) = event {
//!         eprintln!("{} {:.4}", figures.step, figures.loss);
//!     }
//!     true
//! })?;
//! assert_eq!(outcome.step, 2);
//! # Ok(())
//! # }
//! ```
//!
//! [`StepDraft`] and [`TrainStep`] are the step alone: perturbation, forward, loss, backward, clipping, Adam and the moving average in
//! one plan, or one plan a micro-batch where a whole batch does not fit the device.

#[cfg(feature = "files")]
mod classes;
#[cfg(feature = "files")]
mod clock;
#[cfg(feature = "files")]
mod evaluation;
mod kernels;
pub mod loss;
mod objective;
mod options;
#[cfg(feature = "files")]
mod prepare;
#[cfg(feature = "files")]
mod samples;
mod state;
mod step;
#[cfg(feature = "files")]
mod trainer;

#[cfg(feature = "files")]
pub use evaluation::Evaluation;
pub use kernels::KernelRecord;
pub use loss::{Level, Loss, LossInputs, Objective, Reduction, Row};
pub use objective::{adam_of, problem_of, problem_with, sde_of, time_of};
pub use options::{Event, Figures, Outcome, Progress, SampleOptions, TrainerOptions};
#[cfg(feature = "files")]
pub use prepare::check_data;
#[cfg(feature = "files")]
pub use samples::{SampleGrids, sampler_draft};
pub use state::TrainState;
pub use step::{Figure, StepBatch, StepDraft, StepSettings, TrainStep};
#[cfg(feature = "files")]
pub use trainer::{Learns, Trainer};

#[cfg(all(test, feature = "files"))]
mod tests;
