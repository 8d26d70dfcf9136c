//! The order of dispatches, where submissions end, and how heavy dispatches are cut by measured time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::plan::Plan;
use crate::error::{Error, Result};
use crate::gpu::{Binding, DeviceKind, Dispatch, Gpu, Pipeline};

/// Workgroups that one dispatch may have each way.
const GRID_LIMIT: u32 = 65_535;
/// A dispatch measured above this is cut; half of the promise of 100 ms, since other work may share the device.
pub(super) const DISPATCH_BUDGET: Duration = Duration::from_millis(50);
/// Work in one submission; well under the promise of 500 ms, and long against the 35 µs that a submission costs.
const SUBMISSION_BUDGET: Duration = Duration::from_millis(200);
/// Submissions that may wait in the queue: enough to keep the device busy, few enough to keep memory flat.
const IN_FLIGHT: usize = 3;

/// A launch with its pipeline and memory.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) pipeline: Pipeline,
    pub(super) bindings: Vec<Binding>,
    pub(super) uniform: Vec<u32>,
    pub(super) grid: [u32; 3],
    pub(super) flops: f64,
    pub(super) label: String,
}

/// Dispatches in order, and where submissions end.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    pub(super) dispatches: Vec<Dispatch>,
    /// The item of each dispatch.
    pub(super) owner: Vec<usize>,
    /// End of each submission in `dispatches`.
    pub(super) ends: Vec<usize>,
    /// How often the whole list fits into one submission.
    pub(super) repeats: usize,
}

/// What is known of the times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measured {
    /// Nothing: cuts follow an estimate; pipelines may still compile at first use.
    Nothing,
    /// One replay has run: the next one is measured.
    Warm,
    /// Cuts follow measured times.
    Done,
}

/// Cuts a grid into boxes of at most [`GRID_LIMIT`] each way, about `parts` of them: (origin, size).
pub(super) fn cut(grid: [u32; 3], parts: u32) -> Vec<([u32; 3], [u32; 3])> {
    let longest = (0..3).max_by_key(|&i| grid[i]).unwrap_or(0);
    let mut boxes = vec![([0; 3], grid)];
    for axis in 0..3 {
        let wanted = if axis == longest { parts.clamp(1, grid[axis].max(1)) } else { 1 };
        let size = grid[axis].div_ceil(wanted).min(GRID_LIMIT);
        if size >= grid[axis] {
            continue;
        }
        boxes = boxes
            .into_iter()
            .flat_map(|(origin, extent): ([u32; 3], [u32; 3])| {
                (0..extent[axis]).step_by(size as usize).map(move |start| {
                    let (mut o, mut e) = (origin, extent);
                    o[axis] += start;
                    e[axis] = size.min(extent[axis] - start);
                    (o, e)
                })
            })
            .collect();
    }
    boxes
}

impl Plan {
    /// Cuts every dispatch that takes longer than `budget` when measured. Shorter than the default only in tests.
    pub fn set_dispatch_budget(&mut self, budget: Duration) {
        self.budget = budget;
        if self.measured == Measured::Done {
            self.measured = Measured::Warm;
        }
    }

    /// Replays the step once.
    pub fn run(&mut self) -> Result<()> {
        self.replay(1)
    }

    /// Replays the step `count` times and returns when the last one is submitted; nothing is read back in between.
    ///
    /// # Errors
    /// What the device reported: [`Error::DeviceLost`], [`Error::OutOfMemory`], [`Error::Validation`].
    pub fn replay(&mut self, mut count: usize) -> Result<()> {
        if !self.prepared {
            submit_all(&self.gpu, &self.prepare_schedule)?;
            self.prepared = true;
        }
        while count > 0 && self.measured != Measured::Done {
            match self.measured {
                Measured::Nothing => {
                    submit_all(&self.gpu, &self.schedule)?;
                    self.measured = Measured::Warm;
                }
                _ => drop(self.measure(&mut |_| ())?),
            }
            count -= 1;
        }
        let mut queued = VecDeque::new();
        while count > 0 {
            let repeats = self.schedule.repeats.clamp(1, count);
            let mut start = 0;
            for &end in &self.schedule.ends {
                let range = &self.schedule.dispatches[start..end];
                queued.push_back(self.gpu.submit((0..repeats).flat_map(|_| range))?);
                start = end;
                if queued.len() > IN_FLIGHT
                    && let Some(oldest) = queued.pop_front()
                {
                    self.gpu.wait_for(oldest)?;
                }
            }
            count -= repeats;
        }
        Ok(())
    }

    /// [`Plan::run`] for whoever waits long: `watch` hears, whenever a submission has ended, the share of the step's operations that
    /// are done. At most three submissions are still under way when it returns.
    pub fn run_watched(&mut self, watch: &mut dyn FnMut(f64)) -> Result<()> {
        if !self.prepared {
            submit_all(&self.gpu, &self.prepare_schedule)?;
            self.prepared = true;
        }
        if self.measured == Measured::Warm {
            return self.measure(watch).map(drop);
        }
        let shares = self.shares();
        let (mut queued, mut start) = (VecDeque::new(), 0);
        for &end in &self.schedule.ends {
            queued.push_back((self.gpu.submit(&self.schedule.dispatches[start..end])?, end));
            start = end;
            if queued.len() > IN_FLIGHT
                && let Some((oldest, end)) = queued.pop_front()
            {
                self.gpu.wait_for(oldest)?;
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
        let mut parts = vec![0.0; self.step.len()];
        self.schedule.owner.iter().for_each(|&owner| parts[owner] += 1.0);
        // Operations that count as none take some time too.
        let each = self.schedule.owner.iter().map(|&owner| (1.0 + self.step[owner].flops) / parts[owner]);
        let mut sums = vec![0.0];
        each.for_each(|flops| sums.push(sums[sums.len() - 1] + flops));
        let all = sums[sums.len() - 1].max(1.0);
        sums.iter_mut().for_each(|sum| *sum /= all);
        sums
    }

    /// Replays once with a wait behind every dispatch, then cuts and groups by the times; gives (launch, time) of each dispatch.
    pub(super) fn measure(&mut self, watch: &mut dyn FnMut(f64)) -> Result<Vec<(usize, Duration)>> {
        self.gpu.wait()?;
        let mut idle = Duration::MAX;
        for _ in 0..3 {
            let start = Instant::now();
            self.gpu.submit([])?;
            self.gpu.wait()?;
            idle = idle.min(start.elapsed());
        }
        let stopwatch = self.gpu.stopwatch(self.schedule.dispatches.len());
        let shares = self.shares();
        let mut slices = Vec::with_capacity(self.schedule.dispatches.len());
        for (i, (dispatch, &owner)) in self.schedule.dispatches.iter().zip(&self.schedule.owner).enumerate() {
            let start = Instant::now();
            match &stopwatch {
                Some(stopwatch) => self.gpu.submit_timed([dispatch], stopwatch, i)?,
                None => self.gpu.submit([dispatch])?,
            };
            self.gpu.wait()?;
            slices.push((owner, start.elapsed().saturating_sub(idle)));
            watch(shares[i + 1]);
        }
        if let Some(stopwatch) = stopwatch {
            // What the processor saw bounds what the device says.
            for ((_, time), stamped) in slices.iter_mut().zip(self.gpu.elapsed(&stopwatch)?) {
                *time = stamped.map_or(*time, |stamped| stamped.min(*time));
            }
        }
        let mut times = vec![Duration::ZERO; self.step.len()];
        slices.iter().for_each(|(owner, time)| times[*owner] += *time);
        let parts: Vec<u32> = times
            .iter()
            .map(|t| t.as_nanos().div_ceil(self.budget.as_nanos()).clamp(1, 1 << 16) as u32)
            .collect();
        self.times = times;
        self.measured = Measured::Done;
        self.rebuild(&parts)?;
        Ok(slices)
    }

    /// Cuts by an estimate of the device's speed, low enough that a watchdog does not see the first replay.
    pub(super) fn schedule_by_estimate(&mut self) -> Result<()> {
        let flops_per_second = match self.gpu.capabilities().kind {
            DeviceKind::Software => 2e9,
            _ => 50e9,
        };
        let guess = |items: &[Item]| -> Vec<Duration> {
            let floor = Duration::from_micros(20);
            items.iter().map(|i| Duration::from_secs_f64(i.flops / flops_per_second).max(floor)).collect()
        };
        let prepare_times = guess(&self.prepare);
        self.times = guess(&self.step);
        let ones = vec![1; self.prepare.len()];
        self.prepare_schedule = self.arrange(&self.prepare, &ones, &prepare_times, 0)?;
        let parts: Vec<u32> =
            self.times.iter().map(|t| t.as_nanos().div_ceil(self.budget.as_nanos()) as u32).collect();
        self.rebuild(&parts)
    }

    fn rebuild(&mut self, parts: &[u32]) -> Result<()> {
        let first = self.prepare_schedule.dispatches.len();
        let room = self.uniform_slots.saturating_sub(first);
        // Cuts beyond the room for uniform blocks are not made; the longest launches keep theirs.
        let mut parts = parts.to_vec();
        while parts.iter().map(|&p| p as usize).sum::<usize>() > room {
            match parts.iter_mut().max() {
                Some(most) if *most > 1 => *most = most.div_ceil(2),
                _ => break,
            }
        }
        self.schedule = self.arrange(&self.step, &parts, &self.times, first)?;
        Ok(())
    }

    /// Bind groups and uniform blocks for `items` cut into `parts`, blocks from slot `first` on.
    fn arrange(&self, items: &[Item], parts: &[u32], times: &[Duration], first: usize) -> Result<Schedule> {
        let mut schedule = Schedule::default();
        let mut blocks: Vec<u8> = Vec::new();
        let mut pending = Duration::ZERO;
        let mut total = Duration::ZERO;
        for (owner, item) in items.iter().enumerate() {
            let boxes = cut(item.grid, parts[owner]);
            let each = times[owner] / boxes.len().max(1) as u32;
            for (origin, extent) in boxes {
                let slot = first + schedule.dispatches.len();
                if slot >= self.uniform_slots {
                    return Err(Error::Limit {
                        what: item.label.clone(),
                        needed: slot as u64 + 1,
                        limit: self.uniform_slots as u64,
                        unit: "dispatches in one plan",
                        remedy: "use a smaller batch",
                    });
                }
                let mut words = vec![origin[0], origin[1], origin[2], 0];
                words.extend(&item.uniform);
                blocks.extend(bytemuck::cast_slice::<u32, u8>(&words));
                blocks.resize((slot + 1 - first) * self.uniform_slot as usize, 0);
                let uniform = Binding {
                    buffer: self.uniforms.clone(),
                    offset: slot as u64 * self.uniform_slot,
                    size: self.uniform_slot,
                };
                if pending + each > SUBMISSION_BUDGET && !pending.is_zero() {
                    schedule.ends.push(schedule.dispatches.len());
                    pending = Duration::ZERO;
                }
                schedule.dispatches.push(self.gpu.dispatch(&item.pipeline, &item.bindings, &uniform, extent));
                schedule.owner.push(owner);
                pending += each;
                total += each;
            }
        }
        schedule.ends.push(schedule.dispatches.len());
        if !blocks.is_empty() {
            self.gpu.write(&self.uniforms, first as u64 * self.uniform_slot, &blocks)?;
        }
        let fits = SUBMISSION_BUDGET.as_nanos() / total.as_nanos().max(1_000);
        schedule.repeats = if schedule.ends.len() == 1 { fits.clamp(1, 32) as usize } else { 1 };
        Ok(schedule)
    }
}

fn submit_all(gpu: &Gpu, schedule: &Schedule) -> Result<()> {
    let mut start = 0;
    for &end in &schedule.ends {
        gpu.submit(&schedule.dispatches[start..end])?;
        start = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_cover_the_grid_once() {
        for (grid, parts) in [([1, 1, 1], 4), ([70_000, 3, 1], 1), ([10, 7, 2], 3), ([200_000, 1, 1], 5)] {
            let boxes = cut(grid, parts);
            let cells: u64 =
                boxes.iter().map(|(_, e)| e.iter().map(|&d| u64::from(d)).product::<u64>()).sum();
            assert_eq!(cells, grid.iter().map(|&d| u64::from(d)).product::<u64>(), "{grid:?} in {parts}");
            for (origin, extent) in &boxes {
                for axis in 0..3 {
                    assert!(extent[axis] >= 1 && extent[axis] <= GRID_LIMIT);
                    assert!(origin[axis] + extent[axis] <= grid[axis]);
                }
            }
        }
    }
}
