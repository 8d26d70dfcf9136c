//! The replayer: it owns the launches of a plan, cuts them by measured times, and submits them again and again.

use std::collections::VecDeque;
use std::time::Duration;

use super::cut::{self, DISPATCH_BUDGET};
use super::schedule::{BoundLaunch, Schedule, UniformSlots};
use crate::error::Result;
use crate::gpu::{DeviceKind, Dispatch, Gpu, Instant, Stopwatch};

/// Submissions that may wait in the queue: enough to keep the device busy, few enough to keep memory flat.
const IN_FLIGHT: usize = 3;

/// What is known of the times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measured {
    /// Nothing: cuts follow an estimate; pipelines may still compile at first use.
    Nothing,
    /// One replay has run: the next one is measured.
    Warm,
    /// Cuts follow measured times.
    Done,
}

/// The time of a dispatch, and the launch that it is of.
pub(super) struct Slice {
    pub(super) launch: usize,
    pub(super) time: Duration,
}

/// The launches of a step and those that prepare it, ready to be submitted.
#[derive(Debug)]
pub(super) struct Replayer {
    gpu: Gpu,
    uniforms: UniformSlots,
    prepare: Schedule,
    launches: Vec<BoundLaunch>,
    step: Schedule,
    /// Of each launch of the step: estimated, later measured.
    times: Vec<Duration>,
    measured: Measured,
    /// Whether `prepare` has run since parameters were written.
    prepared: bool,
    budget: Duration,
}

impl Replayer {
    /// Cuts by an estimate of the device's speed, low enough that a watchdog does not see the first replay.
    pub(super) async fn new(
        gpu: &Gpu,
        prepare: &[BoundLaunch],
        step: Vec<BoundLaunch>,
        slots: usize,
    ) -> Result<Self> {
        let flops_per_second = match gpu.capabilities().kind {
            DeviceKind::Software => 2e9,
            _ => 50e9,
        };
        let estimate = |launches: &[BoundLaunch]| -> Vec<Duration> {
            let floor = Duration::from_micros(20);
            launches.iter().map(|l| Duration::from_secs_f64(l.flops / flops_per_second).max(floor)).collect()
        };
        let uniforms = UniformSlots::new(gpu, prepare.iter().chain(&step), slots).await?;
        let ones = vec![1; prepare.len()];
        let prepare = uniforms.schedule(gpu, prepare, &ones, &estimate(prepare), 0)?;
        let times = estimate(&step);
        let mut replayer = Self {
            gpu: gpu.clone(),
            uniforms,
            prepare,
            launches: step,
            step: Schedule::default(),
            times,
            measured: Measured::Nothing,
            prepared: false,
            budget: DISPATCH_BUDGET,
        };
        replayer.reschedule()?;
        Ok(replayer)
    }

    /// Cuts and groups the launches of the step by their times.
    fn reschedule(&mut self) -> Result<()> {
        let first = self.prepare.dispatches.len();
        // Cuts beyond the room for uniform blocks are not made.
        let parts = cut::parts(&self.times, self.budget, self.uniforms.count.saturating_sub(first));
        self.step = self.uniforms.schedule(&self.gpu, &self.launches, &parts, &self.times, first)?;
        Ok(())
    }

    /// Cuts every dispatch that takes longer than `budget` when measured.
    pub(super) fn set_dispatch_budget(&mut self, budget: Duration) {
        self.budget = budget;
        if self.measured == Measured::Done {
            self.measured = Measured::Warm;
        }
    }

    /// Says that parameters were written: what is packed from them is packed again before the next step.
    pub(super) fn parameters_changed(&mut self) {
        self.prepared = false;
    }

    /// Dispatches of one step.
    pub(super) fn dispatches(&self) -> usize {
        self.step.dispatches.len()
    }

    /// Packs parameters if they were written since.
    fn prepare(&mut self) -> Result<()> {
        if !self.prepared {
            for dispatches in self.prepare.submissions() {
                self.gpu.submit(dispatches)?;
            }
            self.prepared = true;
        }
        Ok(())
    }

    /// Replays the step `count` times and returns when the last one is submitted; nothing is read back in between. The second replay
    /// since the plan was built is measured, dispatch by dispatch.
    pub(super) async fn replay(&mut self, mut count: usize) -> Result<()> {
        self.prepare()?;
        while count > 0 && self.measured != Measured::Done {
            match self.measured {
                Measured::Nothing => {
                    for dispatches in self.step.submissions() {
                        self.gpu.submit(dispatches)?;
                    }
                    self.measured = Measured::Warm;
                }
                _ => drop(self.measure(|_| ()).await?),
            }
            count -= 1;
        }
        let mut queued = VecDeque::new();
        while count > 0 {
            let repeats = self.step.repeats.clamp(1, count);
            for dispatches in self.step.submissions() {
                queued.push_back(self.gpu.submit((0..repeats).flat_map(|_| dispatches))?);
                if queued.len() > IN_FLIGHT
                    && let Some(oldest) = queued.pop_front()
                {
                    self.gpu.wait_for_async(oldest).await?;
                }
            }
            count -= repeats;
        }
        Ok(())
    }

    /// Replays once; `watch` hears, whenever a submission has ended, the share of the step's operations that are done. At most three
    /// submissions are still under way when it returns.
    pub(super) async fn run_watched(&mut self, mut watch: impl FnMut(f64)) -> Result<()> {
        self.prepare()?;
        if self.measured == Measured::Warm {
            return self.measure(watch).await.map(drop);
        }
        let shares = self.shares();
        let mut queued = VecDeque::new();
        for (dispatches, &end) in self.step.submissions().zip(&self.step.ends) {
            queued.push_back((self.gpu.submit(dispatches)?, end));
            if queued.len() > IN_FLIGHT
                && let Some((oldest, end)) = queued.pop_front()
            {
                self.gpu.wait_for_async(oldest).await?;
                watch(shares[end]);
            }
        }
        if self.measured == Measured::Nothing {
            self.measured = Measured::Warm;
        }
        Ok(())
    }

    /// The share of the step's operations in front of each dispatch, and 1 behind the last.
    fn shares(&self) -> Vec<f64> {
        let parts = self.step.parts(self.launches.len());
        // Operations that count as none take some time too.
        let operations = |launch: usize| (1.0 + self.launches[launch].flops) / f64::from(parts[launch]);
        let mut sums = vec![0.0];
        for &launch in &self.step.launch_of {
            sums.push(sums[sums.len() - 1] + operations(launch));
        }
        let all = sums[sums.len() - 1].max(1.0);
        sums.iter_mut().for_each(|sum| *sum /= all);
        sums
    }

    /// Replays once with a wait behind every dispatch, then cuts and groups by the times.
    async fn measure(&mut self, mut watch: impl FnMut(f64)) -> Result<Vec<Slice>> {
        let idle = self.gpu.submission_time_async().await?;
        let stopwatch = self.gpu.stopwatch(self.step.dispatches.len());
        let shares = self.shares();
        let mut slices = Vec::with_capacity(self.step.dispatches.len());
        for (i, (dispatch, &launch)) in self.step.dispatches.iter().zip(&self.step.launch_of).enumerate() {
            let start = Instant::now();
            self.submit_timed([dispatch], stopwatch.as_ref(), i)?;
            self.gpu.wait_async().await?;
            slices.push(Slice { launch, time: start.elapsed().saturating_sub(idle) });
            watch(shares[i + 1]);
        }
        if let Some(stopwatch) = stopwatch {
            // What the processor saw bounds what the device says.
            let stamps = self.gpu.elapsed_async(&stopwatch).await?;
            for (slice, stamped) in slices.iter_mut().zip(stamps) {
                slice.time = stamped.map_or(slice.time, |stamped| stamped.min(slice.time));
            }
        }
        let mut times = vec![Duration::ZERO; self.launches.len()];
        slices.iter().for_each(|slice| times[slice.launch] += slice.time);
        self.times = times;
        self.measured = Measured::Done;
        self.reschedule()?;
        Ok(slices)
    }

    fn submit_timed<'a>(
        &self,
        dispatches: impl IntoIterator<Item = &'a Dispatch>,
        stopwatch: Option<&Stopwatch>,
        pair: usize,
    ) -> Result<()> {
        match stopwatch {
            Some(stopwatch) => self.gpu.submit_timed(dispatches, stopwatch, pair).map(drop),
            None => self.gpu.submit(dispatches).map(drop),
        }
    }

    /// Replays once, each dispatch by itself, and gives the time of each.
    pub(super) async fn slices(&mut self) -> Result<Vec<Slice>> {
        if self.measured == Measured::Nothing || !self.prepared {
            self.replay(1).await?;
        }
        self.measure(|_| ()).await
    }

    /// Label, share of the operations and time of each dispatch of `slices`.
    pub(super) fn labelled(&self, slices: Vec<Slice>) -> Vec<(String, Duration, f64)> {
        let mut parts = vec![0.0; self.launches.len()];
        slices.iter().for_each(|slice| parts[slice.launch] += 1.0);
        let labelled = |Slice { launch, time }| {
            let of = &self.launches[launch];
            (of.label.clone(), time, of.flops / parts[launch])
        };
        slices.into_iter().map(labelled).collect()
    }

    /// Label, time and operations of each launch, by the last measurement.
    pub(super) fn profile(&self) -> Vec<(String, Duration, f64)> {
        self.launches.iter().zip(&self.times).map(|(l, t)| (l.label.clone(), *t, l.flops)).collect()
    }

    /// Replays `count` times and returns the time of one replay: by the device's stamps around each submission where it has them,
    /// else by the processor's clock around all of them.
    pub(super) async fn time(&mut self, count: usize) -> Result<Duration> {
        while self.measured != Measured::Done || !self.prepared {
            self.replay(1).await?;
        }
        self.gpu.wait_async().await?;
        let count = count.max(1);
        let repeats = self.step.repeats.clamp(1, count);
        let rounds = count.div_ceil(repeats);
        let start = Instant::now();
        let Some(stopwatch) = self.gpu.stopwatch(rounds * self.step.ends.len()) else {
            self.replay(count).await?;
            self.gpu.wait_async().await?;
            return Ok(start.elapsed() / count as u32);
        };
        let mut pair = 0;
        for round in 0..rounds {
            let repeats = repeats.min(count - round * repeats);
            for dispatches in self.step.submissions() {
                self.submit_timed((0..repeats).flat_map(|_| dispatches), Some(&stopwatch), pair)?;
                pair += 1;
            }
        }
        self.gpu.wait_async().await?;
        let wall = start.elapsed();
        // What the processor saw bounds what the device says.
        let stamped: Option<Duration> = self.gpu.elapsed_async(&stopwatch).await?.into_iter().sum();
        Ok(stamped.map_or(wall, |stamped| stamped.min(wall)) / count as u32)
    }

    /// The longest submission by the measured times of its dispatches.
    pub(super) fn longest_submission(&self) -> Duration {
        let parts = self.step.parts(self.launches.len());
        let mut begin = 0;
        let mut longest = Duration::ZERO;
        for &end in &self.step.ends {
            let launches = &self.step.launch_of[begin..end];
            let once: Duration = launches.iter().map(|&l| self.times[l] / parts[l].max(1)).sum();
            longest = longest.max(once * self.step.repeats.max(1) as u32);
            begin = end;
        }
        longest
    }
}
