//! Training: objectives, the step as one replayed plan, the loop around it.
//!
//! [`Trainer`] is what a program uses: a configuration, a data set and a work folder in, checkpoints, metrics and grids of samples out.
//! It goes on from the folder's last checkpoint by default, bit for bit as if it had never stopped.
//!
//! ```no_run
//! use langevin::data::{DataConfig, Dataset, Preprocess};
//! use langevin::gpu::{Gpu, Options};
//! use langevin::models::presets;
//! use langevin::training::{Event, Trainer, TrainerOptions};
//!
//! # fn main() -> langevin::Result<()> {
//! let config = presets::get("ve/cifar10_ncsnpp_continuous")?;
//! let data = DataConfig::new("cifar10.tar.xz", Preprocess::for_dataset("CIFAR10", 32, 3)?);
//! let data = Dataset::open(&data, &mut |_| true)?;
//! let gpu = Gpu::open(&Options::default())?;
//! let mut trainer = Trainer::new(&gpu, config, data, "runs/cifar10", TrainerOptions::default())?;
//! let outcome = trainer.run(&mut |event: Event<'_>| {
//!     if let Event::Logged(figures) = event {
//!         eprintln!("{} {:.4}", figures.step, figures.loss);
//!     }
//!     true
//! })?;
//! println!("{} steps", outcome.step);
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
pub use objective::{adam_of, pc_of, problem_of, sde_of, time_of};
pub use options::{Event, Figures, Outcome, Progress, SampleOptions, TrainerOptions};
#[cfg(feature = "files")]
pub use samples::{SampleGrids, sampler_draft};
pub use state::TrainState;
pub use step::{Figure, StepBatch, StepDraft, StepSettings, TrainStep, Trainable};
#[cfg(feature = "files")]
pub use trainer::Trainer;

#[cfg(all(test, feature = "files"))]
mod tests;
