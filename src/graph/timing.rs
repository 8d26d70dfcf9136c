//! What a plan's replays take: as a whole, by launch, by dispatch, by submission.

use std::time::{Duration, Instant};

use super::plan::Plan;
use super::schedule::Measured;
use crate::error::Result;

impl Plan {
    /// Replays once, each launch by itself, and returns (label, time, FLOPs) in order.
    pub fn profile(&mut self) -> Result<Vec<(String, Duration, f64)>> {
        self.slices()?;
        Ok(self.step.iter().zip(&self.times).map(|(i, t)| (i.label.clone(), *t, i.flops)).collect())
    }

    /// Replays once, each dispatch by itself, and returns (label, time, FLOPs) of each in order: a launch that was cut has several.
    ///
    /// The times are the device's own stamps where it has them, else the processor's, an empty submission's taken off.
    pub fn slices(&mut self) -> Result<Vec<(String, Duration, f64)>> {
        if self.measured == Measured::Nothing || !self.prepared {
            self.replay(1)?;
        }
        let slices = self.measure(&mut |_| ())?;
        let mut parts = vec![0.0; self.step.len()];
        slices.iter().for_each(|(owner, _)| parts[*owner] += 1.0);
        let named = |(owner, time): (usize, Duration)| {
            (self.step[owner].label.clone(), time, self.step[owner].flops / parts[owner])
        };
        Ok(slices.into_iter().map(named).collect())
    }

    /// Replays `count` times and returns the time of one replay: by the device's stamps around each submission where it has them,
    /// else by the processor's clock around all of them.
    pub fn time(&mut self, count: usize) -> Result<Duration> {
        while self.measured != Measured::Done || !self.prepared {
            self.replay(1)?;
        }
        self.gpu.wait()?;
        let count = count.max(1);
        let repeats = self.schedule.repeats.clamp(1, count);
        let rounds = count.div_ceil(repeats);
        let start = Instant::now();
        let Some(watch) = self.gpu.stopwatch(rounds * self.schedule.ends.len()) else {
            self.replay(count)?;
            self.gpu.wait()?;
            return Ok(start.elapsed() / count as u32);
        };
        let mut pair = 0;
        for round in 0..rounds {
            let repeats = repeats.min(count - round * repeats);
            let mut begin = 0;
            for &end in &self.schedule.ends {
                let range = &self.schedule.dispatches[begin..end];
                self.gpu.submit_timed((0..repeats).flat_map(|_| range), &watch, pair)?;
                (begin, pair) = (end, pair + 1);
            }
        }
        self.gpu.wait()?;
        let wall = start.elapsed();
        // What the processor saw bounds what the device says.
        let stamped: Option<Duration> = self.gpu.elapsed(&watch)?.into_iter().sum();
        Ok(stamped.map_or(wall, |stamped| stamped.min(wall)) / count as u32)
    }

    /// The longest submission by the measured times of its dispatches.
    pub fn longest_submission(&self) -> Duration {
        let parts = |owner: usize| self.schedule.owner.iter().filter(|o| **o == owner).count() as u32;
        let each: Vec<Duration> = (0..self.step.len()).map(|i| self.times[i] / parts(i).max(1)).collect();
        let mut begin = 0;
        let mut longest = Duration::ZERO;
        for &end in &self.schedule.ends {
            let once: Duration = self.schedule.owner[begin..end].iter().map(|&o| each[o]).sum();
            longest = longest.max(once * self.schedule.repeats.max(1) as u32);
            begin = end;
        }
        longest
    }
}
