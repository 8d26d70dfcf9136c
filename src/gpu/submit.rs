//! Dispatches and their submission.

use std::sync::Arc;

use super::buffer::Binding;
use super::device::Gpu;
use super::pipeline::Pipeline;
use super::wait::Submission;
use crate::error::Result;

/// A pipeline with its bindings and grid: everything is built, replaying it only encodes.
#[derive(Clone, Debug)]
pub struct Dispatch {
    pipeline: Pipeline,
    bind_group: Arc<wgpu::BindGroup>,
    grid: [u32; 3],
}

impl Dispatch {
    /// The pipeline's label.
    pub fn label(&self) -> &str {
        &self.pipeline.label
    }
}

impl Gpu {
    /// Binds `bindings`, and `uniform` right behind them, to `pipeline`. `grid` counts workgroups, at most 65,535 each way.
    pub fn dispatch(
        &self,
        pipeline: &Pipeline,
        bindings: &[Binding],
        uniform: &Binding,
        grid: [u32; 3],
    ) -> Dispatch {
        let entries: Vec<_> = bindings
            .iter()
            .chain([uniform])
            .enumerate()
            .map(|(i, b)| wgpu::BindGroupEntry {
                binding: i as u32,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &b.buffer.raw,
                    offset: b.offset,
                    size: std::num::NonZeroU64::new(b.size),
                }),
            })
            .collect();
        let bind_group = self.inner.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&pipeline.label),
            layout: &pipeline.layout,
            entries: &entries,
        });
        self.count(|c| c.bind_groups += 1);
        Dispatch { pipeline: pipeline.clone(), bind_group: Arc::new(bind_group), grid }
    }

    /// Encodes `dispatches` in order as one pass and submits them. Does not wait.
    pub fn submit<'a>(&self, dispatches: impl IntoIterator<Item = &'a Dispatch>) -> Result<Submission> {
        self.encode(dispatches, None)
    }

    pub(super) fn encode<'a>(
        &self,
        dispatches: impl IntoIterator<Item = &'a Dispatch>,
        timestamp_writes: Option<wgpu::ComputePassTimestampWrites<'_>>,
    ) -> Result<Submission> {
        self.check()?;
        let mut encoder =
            self.inner.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("plan") });
        {
            let mut pass = encoder
                .begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("plan"), timestamp_writes });
            for d in dispatches {
                pass.set_pipeline(&d.pipeline.raw);
                pass.set_bind_group(0, &*d.bind_group, &[]);
                pass.dispatch_workgroups(d.grid[0], d.grid[1], d.grid[2]);
            }
        }
        let submission = self.submit_encoded(encoder);
        self.count(|c| c.submissions += 1);
        self.check()?;
        Ok(submission)
    }

    pub(super) fn submit_encoded(&self, encoder: wgpu::CommandEncoder) -> Submission {
        let index = self.inner.queue.submit([encoder.finish()]);
        Submission::new(&self.inner.queue, index)
    }
}
