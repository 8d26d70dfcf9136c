//! What a trainer is asked for and what it tells.

use std::path::Path;
use std::time::Duration;

use crate::graph::{Kernels, Memory};

/// How a run is done; what is learnt is in the configuration.
#[derive(Clone, Debug)]
pub struct TrainerOptions {
    /// Go on from the folder's checkpoint where there is one. If false, a folder that has one is refused.
    pub resume: bool,
    /// Images of one replay; the gradients of several are summed to those of `training.batch_size`. `None` takes the whole batch, or
    /// the largest part that the device allows.
    pub micro_batch: Option<usize>,
    /// Activations are computed again in the backward pass rather than kept: less memory, more work, the same results bit for bit.
    pub recompute: bool,
    /// How kernels are chosen where the checkpoint records none.
    pub kernels: Kernels,
    /// The grids of samples that are drawn on the way; `None` draws none.
    pub samples: Option<SampleOptions>,
    /// Batches of the test split in one evaluation of the loss; 0 evaluates nothing.
    pub evaluation_batches: usize,
    /// Write a line of the log when this much time has passed since the last one, beside `training.log_freq` and the first step of a run.
    pub log_every: Option<Duration>,
    /// Save when this much time has passed since the last save, beside `training.snapshot_freq_for_preemption`.
    pub save_every: Option<Duration>,
}

impl Default for TrainerOptions {
    fn default() -> Self {
        Self {
            resume: true,
            micro_batch: None,
            recompute: false,
            kernels: Kernels::default(),
            samples: Some(SampleOptions::default()),
            evaluation_batches: 1,
            log_every: None,
            save_every: None,
        }
    }
}

/// A grid of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleOptions {
    /// Images of the grid.
    pub images: usize,
    /// Steps of a few-step solver; `None` takes the configuration's sampler as it is.
    pub steps: Option<usize>,
    /// Training steps between grids; `None` is `training.snapshot_freq`.
    pub every: Option<u64>,
}

impl Default for SampleOptions {
    fn default() -> Self {
        Self { images: 16, steps: None, every: None }
    }
}

/// What a line of the log holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Steps done.
    pub step: u64,
    /// Mean loss over the steps since the last line.
    pub loss: f64,
    /// Mean norm of the gradient before clipping over the same steps.
    pub grad_norm: f64,
    /// Of a classifier: the share of the noisy images over the same steps whose class it found.
    pub accuracy: Option<f64>,
    /// Steps skipped since the beginning because a gradient was not finite.
    pub skipped: u64,
    /// Images a second since the last line.
    pub images_per_second: f64,
    /// The part of that time spent waiting for data, 0 to 1.
    pub wait: f64,
    /// Device memory of the step, in bytes.
    pub memory: u64,
}

/// What happens during a run.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The run begins.
    Started {
        /// Steps done before.
        step: u64,
        /// Steps to reach.
        steps: u64,
        /// Device memory of the step.
        memory: Memory,
        /// Floating-point operations of one step.
        flops: f64,
        /// Images of one replay.
        micro_batch: usize,
    },
    /// The first step of a run is under way on a device that takes long: said every second or so until the first line of the log.
    UnderWay {
        /// The step.
        step: u64,
        /// How much of its operations are done, 0 to 1.
        share: f64,
        /// Images a second by that share: an estimate.
        images_per_second: f64,
    },
    /// One more step was handed to the device.
    Step {
        /// Steps done.
        step: u64,
    },
    /// A line of the log.
    Logged(Figures),
    /// The loss on the test split, with the averaged weights.
    Evaluated {
        /// Steps done.
        step: u64,
        /// Mean loss.
        loss: f64,
        /// Of a classifier: the share of the noisy images whose class it found.
        accuracy: Option<f64>,
    },
    /// A checkpoint survives a loss of power from here on.
    Saved {
        /// Steps done.
        step: u64,
    },
    /// A grid was written.
    Samples {
        /// Steps done.
        step: u64,
        /// The file.
        path: &'a Path,
    },
    /// Something that the user should know.
    Note(&'a str),
}

/// Hears what happens. Returning false ends the run after the step at hand; it is saved then.
pub trait Progress {
    /// Hears one event.
    fn event(&mut self, event: Event<'_>) -> bool;
}

impl<F: FnMut(Event<'_>) -> bool> Progress for F {
    fn event(&mut self, event: Event<'_>) -> bool {
        self(event)
    }
}

/// How a run ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Steps done.
    pub step: u64,
    /// True when all of `training.n_iters` are done, false when progress ended the run.
    pub complete: bool,
}
