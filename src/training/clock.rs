//! What a line of the log says of the steps since the last one, and whether the run may go on.

use std::time::{Duration, Instant};

use super::options::Figures;
use super::step::TrainStep;
use crate::error::Result;

/// Fewer skipped steps than these never end a run.
const PASSED_OVER: u64 = 5;

/// Times since the last line of the log.
pub(super) struct Clock {
    pub(super) start: Instant,
    since: u64,
    pub(super) wait: Duration,
    /// Time that went into evaluation, grids and checkpoints rather than steps.
    pub(super) away: Duration,
    skipped: u64,
    /// Steps skipped since the last line without any.
    in_a_row: u64,
}

impl Clock {
    pub(super) fn new(step: u64, skipped: u64) -> Self {
        let (wait, away) = (Duration::ZERO, Duration::ZERO);
        Self { start: Instant::now(), since: step, wait, away, skipped, in_a_row: 0 }
    }

    fn begin(&mut self, step: u64) {
        *self = Self { in_a_row: self.in_a_row, ..Self::new(step, self.skipped) };
    }

    /// Reads the device's figures; says whether a step was skipped since the last time, and why.
    pub(super) fn read(
        &mut self,
        train: &mut TrainStep,
        memory: u64,
        step: u64,
        batch: usize,
    ) -> Result<Read> {
        let figure = train.figure()?;
        let count = step - self.since;
        let elapsed = self.start.elapsed().saturating_sub(self.away);
        let seconds = elapsed.as_secs_f64().max(1e-9);
        let mean = |sum: f64| sum / count.max(1) as f64;
        let figures = Figures {
            step,
            loss: mean(figure.loss_sum),
            grad_norm: mean(figure.grad_norm_sum),
            accuracy: figure.accuracy_sum.map(mean),
            skipped: figure.skipped,
            images_per_second: (count as usize * batch) as f64 / seconds,
            wait: self.wait.as_secs_f64() / seconds,
            memory,
        };
        let new = figure.skipped - self.skipped;
        self.in_a_row = if new > 0 { self.in_a_row + new } else { 0 };
        let mut broken = None;
        if self.in_a_row >= PASSED_OVER {
            let gradient = train.state().non_finite_gradient()?;
            // Some steps in many are passed over; a run that stays broken or breaks often is not.
            if gradient.is_some() || 2 * new > count {
                broken =
                    Some(gradient.map_or("a gradient".to_owned(), |name| format!("the gradient of {name}")));
            }
        }
        self.skipped = figure.skipped;
        self.begin(step);
        // The steps since the first broken one were all skipped where the last one is.
        Ok(Read { figures, step_count: count, broken, broken_step: step + 1 - self.in_a_row.min(step) })
    }
}

/// What was read at a line of the log.
pub(super) struct Read {
    pub(super) figures: Figures,
    pub(super) step_count: u64,
    pub(super) broken: Option<String>,
    pub(super) broken_step: u64,
}
