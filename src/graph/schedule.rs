//! Dispatches in the order in which they are submitted, with their bind groups and uniform blocks.

use std::time::Duration;

use super::cut::{cut, submissions};
use crate::error::{Error, Result};
use crate::gpu::{Binding, Buffer, Dispatch, Gpu, Pipeline};

/// A launch with its pipeline and memory.
#[derive(Debug)]
pub(super) struct BoundLaunch {
    pub(super) pipeline: Pipeline,
    pub(super) bindings: Vec<Binding>,
    /// The uniform block behind `origin`.
    pub(super) uniform: Vec<u32>,
    pub(super) grid: [u32; 3],
    pub(super) flops: f64,
    pub(super) label: String,
}

/// Dispatches in order, and where submissions end.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    pub(super) dispatches: Vec<Dispatch>,
    /// The launch of each dispatch.
    pub(super) launch_of: Vec<usize>,
    /// End of each submission in `dispatches`.
    pub(super) ends: Vec<usize>,
    /// How often the whole list fits into one submission.
    pub(super) repeats: usize,
}

impl Schedule {
    /// The dispatches of each submission.
    pub(super) fn submissions(&self) -> impl Iterator<Item = &[Dispatch]> {
        let begins = [0].into_iter().chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, &end)| &self.dispatches[begin..end])
    }

    /// How many dispatches each of `launches` launches has.
    pub(super) fn parts(&self, launches: usize) -> Vec<u32> {
        let mut parts = vec![0; launches];
        self.launch_of.iter().for_each(|&launch| parts[launch] += 1);
        parts
    }
}

/// The buffer that holds the uniform block of every dispatch of a plan, in slots of one size.
#[derive(Debug)]
pub(super) struct UniformSlots {
    pub(super) buffer: Buffer,
    /// Bytes of a slot.
    pub(super) bytes: u64,
    pub(super) count: usize,
}

impl UniformSlots {
    /// `count` slots for the blocks of `launches`.
    pub(super) async fn new<'a>(
        gpu: &Gpu,
        launches: impl Iterator<Item = &'a BoundLaunch>,
        count: usize,
    ) -> Result<Self> {
        let widest = launches.map(|launch| 16 + 4 * launch.uniform.len() as u64).max().unwrap_or(16);
        let bytes = widest.next_multiple_of(gpu.capabilities().uniform_alignment);
        let buffer = gpu.uniform_buffer_async("uniforms", bytes * count as u64).await?;
        Ok(Self { buffer, bytes, count })
    }

    /// Cuts `launches` into `parts` and writes their uniform blocks to slots from `first` on. `times` are those of whole launches.
    pub(super) fn schedule(
        &self,
        gpu: &Gpu,
        launches: &[BoundLaunch],
        parts: &[u32],
        times: &[Duration],
        first: usize,
    ) -> Result<Schedule> {
        let mut schedule = Schedule::default();
        let mut blocks: Vec<u8> = Vec::new();
        let mut each = Vec::new();
        for (index, launch) in launches.iter().enumerate() {
            let boxes = cut(launch.grid, parts[index]);
            let time = times[index] / boxes.len().max(1) as u32;
            for (origin, extent) in boxes {
                let slot = first + schedule.dispatches.len();
                if slot >= self.count {
                    return Err(Error::Limit {
                        what: launch.label.clone(),
                        needed: slot as u64 + 1,
                        limit: self.count as u64,
                        unit: "dispatches in one plan",
                        remedy: "use a smaller batch",
                    });
                }
                let origin = [origin[0], origin[1], origin[2], 0];
                blocks.extend(bytemuck::cast_slice::<u32, u8>(&origin));
                blocks.extend(bytemuck::cast_slice::<u32, u8>(&launch.uniform));
                blocks.resize((slot + 1 - first) * self.bytes as usize, 0);
                let block = Binding {
                    buffer: self.buffer.clone(),
                    offset: slot as u64 * self.bytes,
                    size: self.bytes,
                };
                schedule.dispatches.push(gpu.dispatch(&launch.pipeline, &launch.bindings, &block, extent));
                schedule.launch_of.push(index);
                each.push(time);
            }
        }
        (schedule.ends, schedule.repeats) = submissions(&each);
        if !blocks.is_empty() {
            gpu.write(&self.buffer, first as u64 * self.bytes, &blocks)?;
        }
        Ok(schedule)
    }
}
