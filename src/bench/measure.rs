//! Checking, then timing.

use std::time::Duration;

use serde::Serialize;

use super::case::{Built, Case, Group};
use super::peaks::Peaks;
use super::trace::Slice;
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Instant};
use crate::graph::{Choice, Kernels};

/// What one count of the clock should span, so that a submission's own cost is small in it.
const SPAN: Duration = Duration::from_millis(50);
/// Counts go on for this long where they are short.
const ENOUGH: Duration = Duration::from_millis(500);
/// Most counts.
const MOST: usize = 20;

/// A result: one line of the report.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// What was computed.
    pub name: String,
    /// Channels and sizes of one image, or the preset of a network.
    pub shape: String,
    /// Images.
    pub batch: usize,
    /// The kind.
    pub group: &'static str,
    /// Median milliseconds.
    pub ms: f64,
    /// The fastest count's: what is left where a shared machine disturbs the others.
    pub ms_min: f64,
    /// Counts of the clock.
    pub counts: usize,
    /// 1e9 floating-point operations a second, direct convolution counted.
    pub gflops: f64,
    /// 1e9 bytes a second, counting what each op must read and write.
    pub gbs: f64,
    /// `gflops` by the peak of multiply-adds.
    pub peak_share: f64,
    /// `gbs` by the peak of a copy.
    pub copy_share: f64,
    /// Peak of multiply-adds, in 1e9 operations a second.
    pub peak_gflops: f64,
    /// Peak of a copy, in 1e9 bytes a second.
    pub peak_gbs: f64,
    /// Device memory in bytes.
    pub memory: u64,
    /// Dispatches of one replay.
    pub dispatches: usize,
    /// The longest submission by its measured times, in milliseconds.
    pub submission_ms: f64,
    /// Of a sampling step: the share of its time that is not the network.
    pub overhead_share: Option<f64>,
    /// Results read back while it ran.
    pub read_backs: u64,
    /// Largest difference from the plainest kernels as a share of the largest output; none where no op had a choice.
    pub error: Option<f64>,
    /// Kernels that had a rival.
    pub kernels: Vec<String>,
    /// Kernels that were not chosen or do not run here, each with the reason.
    pub rivals: Vec<String>,
    /// `timestamps` of the device, or `wall clock`.
    pub clock: &'static str,
    /// The adapter.
    pub adapter: String,
    /// Its driver.
    pub driver: String,
}

/// A device and its peaks.
#[derive(Debug)]
pub struct Bench {
    gpu: Gpu,
    peaks: Peaks,
    kernels: Kernels,
    counts: usize,
}

impl Bench {
    /// Measures the peaks; every case will be counted at least `counts` times and built by `kernels`.
    ///
    /// # Errors
    /// What the device reports.
    pub fn new(gpu: &Gpu, kernels: Kernels, counts: usize) -> Result<Self> {
        Ok(Self { gpu: gpu.clone(), peaks: Peaks::measure(gpu)?, kernels, counts: counts.max(1) })
    }

    /// The peaks.
    pub fn peaks(&self) -> Peaks {
        self.peaks
    }

    /// Where times come from.
    pub fn clock(&self) -> &'static str {
        if self.gpu.capabilities().timestamps { "timestamps" } else { "wall clock" }
    }

    /// Builds a case, replays it once and holds what it gives against the plainest kernels: the whole batch where only images count,
    /// else a batch of one: its kernels may have other tiles, but add in the same order and give the same bits, to which tests hold them.
    ///
    /// # Errors
    /// [`Error::Disagreement`], [`Error::NonFinite`]; what building says.
    pub fn checked(&self, case: &Case) -> Result<(Built, Option<f64>)> {
        let mut built = case.build(&self.gpu, case.batch, &self.kernels)?;
        let results = built.first()?;
        if results.iter().flatten().any(|v| !v.is_finite()) {
            return Err(Error::NonFinite { tensor: case.to_string(), step: 1 });
        }
        if built.chosen.iter().all(|c| c.of < 2) {
            return Ok((built, None));
        }
        let plain = case.build(&self.gpu, 1, &Choice::LAST.into())?.first()?;
        let results = match built.per_image || case.batch == 1 {
            true => results,
            false => case.build(&self.gpu, 1, &self.kernels)?.first()?,
        };
        let error = results.iter().zip(&plain).map(|(got, plain)| difference(got, plain)).fold(0.0, f64::max);
        let tolerance = case.group.tolerance(built.is_reduced());
        if error <= tolerance {
            return Ok((built, Some(error)));
        }
        Err(Error::Disagreement {
            what: case.to_string(),
            kernels: built.kernels().join(", "),
            error,
            tolerance,
        })
    }

    /// Checks a case and measures it.
    ///
    /// # Errors
    /// As [`Bench::checked`].
    pub fn run(&self, case: &Case) -> Result<Measurement> {
        let (mut built, error) = self.checked(case)?;
        let plan = built.plan();
        // Warm, then measured and cut by what was measured.
        let once = plan.time(1)?.max(Duration::from_nanos(100));
        let replays = (SPAN.as_secs_f64() / once.as_secs_f64()).clamp(1.0, 1000.0) as usize;
        let read_backs = self.gpu.counters().read_backs;
        let start = Instant::now();
        let mut times = Vec::new();
        while times.len() < self.counts || (times.len() < MOST && start.elapsed() < ENOUGH) {
            times.push(plan.time(replays)?.as_secs_f64());
        }
        let read_backs = self.gpu.counters().read_backs - read_backs;
        times.sort_by(f64::total_cmp);
        let overhead_share = match case.group {
            Group::Sampling => Some(self.overhead(&mut built)?),
            _ => None,
        };
        let plan = built.plan();
        let (dispatches, submission) = (plan.dispatches(), plan.longest_submission());
        let seconds = median(&times);
        let (gflops, gbs) = (built.flops / seconds / 1e9, built.bytes / seconds / 1e9);
        let adapter = self.gpu.adapter();
        Ok(Measurement {
            name: case.name.into(),
            shape: case.shape.clone(),
            batch: case.batch,
            group: case.group.name(),
            ms: 1e3 * seconds,
            ms_min: 1e3 * times[0],
            counts: times.len(),
            gflops,
            gbs,
            peak_share: gflops / self.peaks.gflops,
            copy_share: gbs / self.peaks.gbs,
            peak_gflops: self.peaks.gflops,
            peak_gbs: self.peaks.gbs,
            memory: built.memory,
            dispatches,
            submission_ms: 1e3 * submission.as_secs_f64(),
            overhead_share,
            read_backs,
            error,
            kernels: built.kernels(),
            rivals: built.rivals(),
            clock: self.clock(),
            adapter: adapter.name.clone(),
            driver: adapter.driver.clone(),
        })
    }

    /// The share of a sampling step that is not the network: the median of as many steps as there are counts.
    fn overhead(&self, built: &mut Built) -> Result<f64> {
        let mut shares = Vec::new();
        for _ in 0..self.counts {
            let slices = built.plan().slices()?;
            let is_network = |label: &str| label.starts_with("predictor.") || label.starts_with("corrector.");
            let sum = |network: bool| -> f64 {
                let those = slices.iter().filter(|(label, ..)| is_network(label) == network);
                those.map(|(_, time, _)| time.as_secs_f64()).sum()
            };
            let (network, rest) = (sum(true), sum(false));
            shares.push(rest / (network + rest));
        }
        shares.sort_by(f64::total_cmp);
        Ok(median(&shares))
    }

    /// The dispatches of a case with the time of each, for a trace.
    ///
    /// # Errors
    /// What building says.
    pub fn slices(&self, case: &Case) -> Result<Vec<Slice>> {
        let mut built = case.build(&self.gpu, case.batch, &self.kernels)?;
        built.first()?;
        // Compiled, then cut by measured times, then taken.
        built.plan().slices()?;
        let slices = built.plan().slices()?;
        Ok(slices.into_iter().map(|(label, time, flops)| Slice { label, time, flops }).collect())
    }
}

/// The median of a sorted list that is not empty.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// The largest difference over the elements that `plain` has, as a share of its largest.
fn difference(got: &[f32], plain: &[f32]) -> f64 {
    let largest = plain.iter().fold(f64::MIN_POSITIVE, |m, v| m.max(f64::from(v.abs())));
    let errors = got.iter().zip(plain).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
    errors.fold(0.0, |m, e| if e.is_nan() { f64::INFINITY } else { e.max(m) }) / largest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_differences() {
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
        assert_eq!(median(&[1.0, 3.0]), 2.0);
        assert_eq!(difference(&[1.0, 2.5, 100.0], &[1.0, 2.0]), 0.25);
        assert_eq!(difference(&[f32::NAN], &[1.0]), f64::INFINITY);
    }
}
