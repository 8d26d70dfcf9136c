//! Times that the device takes itself.

use std::time::Duration;

use super::buffer::Binding;
use super::device::Gpu;
use super::submit::Dispatch;
use super::wait::{Instant, Submission, blocking};
use crate::error::Result;

/// Pairs of stamps in one query set: 4,096 queries are the interface's most.
const PAIRS: usize = 2048;

/// Pairs of timestamps, each around one submission.
#[derive(Debug)]
pub struct Stopwatch {
    sets: Vec<wgpu::QuerySet>,
    pairs: usize,
}

impl Gpu {
    /// A stopwatch for `pairs` submissions; `None` where the device has no timestamps.
    pub fn stopwatch(&self, pairs: usize) -> Option<Stopwatch> {
        if !self.capabilities().timestamps {
            return None;
        }
        let set = |first: usize| {
            self.inner.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("stopwatch"),
                ty: wgpu::QueryType::Timestamp,
                count: 2 * PAIRS.min(pairs - first) as u32,
            })
        };
        Some(Stopwatch { sets: (0..pairs).step_by(PAIRS).map(set).collect(), pairs })
    }

    /// What an empty submission takes, by the processor's clock: the shortest of three, with nothing else under way.
    ///
    /// # Errors
    /// As [`Gpu::wait_async`].
    pub async fn submission_time_async(&self) -> Result<Duration> {
        self.wait_async().await?;
        let mut shortest = Duration::MAX;
        for _ in 0..3 {
            let start = Instant::now();
            self.submit([])?;
            self.wait_async().await?;
            shortest = shortest.min(start.elapsed());
        }
        Ok(shortest)
    }

    /// [`Gpu::submission_time_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Gpu::wait`].
    pub fn submission_time(&self) -> Result<Duration> {
        blocking(self.submission_time_async())
    }

    /// [`Gpu::submit`] between the stamps of pair `pair`.
    pub fn submit_timed<'a>(
        &self,
        dispatches: impl IntoIterator<Item = &'a Dispatch>,
        watch: &Stopwatch,
        pair: usize,
    ) -> Result<Submission> {
        let first = 2 * (pair % PAIRS) as u32;
        self.encode(
            dispatches,
            Some(wgpu::ComputePassTimestampWrites {
                query_set: &watch.sets[pair / PAIRS],
                beginning_of_pass_write_index: Some(first),
                end_of_pass_write_index: Some(first + 1),
            }),
        )
    }

    /// Waits for everything submitted, and gives the time of each pair; `None` where the device lost a stamp. Every pair must
    /// have been used.
    ///
    /// # Errors
    /// As [`Gpu::read_async`].
    pub async fn elapsed_async(&self, watch: &Stopwatch) -> Result<Vec<Option<Duration>>> {
        let usage = wgpu::BufferUsages::QUERY_RESOLVE;
        let buffer = self.make_buffer("stamps", 16 * watch.pairs as u64, usage).await?;
        let mut encoder = self.inner.device.create_command_encoder(&Default::default());
        for (i, set) in watch.sets.iter().enumerate() {
            let pairs = PAIRS.min(watch.pairs - i * PAIRS);
            encoder.resolve_query_set(set, 0..2 * pairs as u32, &buffer.raw, (16 * i * PAIRS) as u64);
        }
        self.inner.queue.submit([encoder.finish()]);
        let bytes = self.fetch(&Binding { size: 16 * watch.pairs as u64, offset: 0, buffer }).await?;
        let period = f64::from(self.inner.queue.get_timestamp_period());
        let stamps: Vec<u64> = bytemuck::pod_collect_to_vec(&bytes);
        Ok(stamps.chunks_exact(2).map(|pair| between(pair[0], pair[1], period)).collect())
    }

    /// [`Gpu::elapsed_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub fn elapsed(&self, watch: &Stopwatch) -> Result<Vec<Option<Duration>>> {
        blocking(self.elapsed_async(watch))
    }
}

/// The time between two stamps of `period` nanoseconds. Metal is known to leave stamps zero.
fn between(begin: u64, end: u64, period: f64) -> Option<Duration> {
    let ticks = end.checked_sub(begin).filter(|_| begin != 0)?;
    Some(Duration::from_nanos((ticks as f64 * period) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_stamps_are_no_times() {
        assert_eq!(between(0, 5, 1.0), None);
        assert_eq!(between(7, 5, 1.0), None);
        assert_eq!(between(5, 7, 10.0), Some(Duration::from_nanos(20)));
        assert_eq!(between(5, 5, 10.0), Some(Duration::ZERO));
    }
}
