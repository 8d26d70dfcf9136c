//! Guard zones behind buffers, for tests: they show writes past the end of a tensor and reads of what nothing has written.
//!
//! A kernel's binding reaches over its tensor's guard zone, because drivers drop writes outside a binding.

use crate::error::Result;
use crate::gpu::{Binding, Buffer, Gpu};

/// Bytes of a guard zone at least; buffers are rounded up to 16.
const ZONE: u64 = 1024;
/// Fills the zones behind scratch memory. It is finite, so that whatever a kernel computes of it and of NaN differs.
const SCRATCH_ZONE: u32 = 0x47c0_dead;
/// Fills scratch memory that nothing has written, and the zones behind other memory: NaNs of two kinds.
const SCRATCH: u32 = 0x7fc0_dead;
const KEPT_ZONE: u32 = 0x7fc0_beef;
/// Bytes written at once, so that filling a large buffer needs little memory on the host.
const CHUNK: u64 = 1 << 20;

/// A buffer with a guard zone.
#[derive(Clone, Debug)]
struct Guarded {
    buffer: Buffer,
    /// Where the zone begins.
    end: u64,
    /// Whether the bytes before the zone belong to no caller, so that they can be made NaN.
    scratch: bool,
}

impl Guarded {
    /// What fills the zone.
    fn word(&self) -> u32 {
        if self.scratch { SCRATCH_ZONE } else { KEPT_ZONE }
    }
}

/// The guard zones of a plan; none unless they were asked for.
#[derive(Clone, Debug)]
pub(super) struct Guards {
    wanted: bool,
    buffers: Vec<Guarded>,
}

impl Guards {
    /// No zones yet; none ever unless `wanted`.
    pub(super) fn new(wanted: bool) -> Self {
        Self { wanted, buffers: Vec::new() }
    }

    /// Allocates scratch buffers of these sizes.
    pub(super) async fn scratch(&mut self, gpu: &Gpu, label: &str, sizes: &[u64]) -> Result<Vec<Buffer>> {
        let mut buffers = Vec::with_capacity(sizes.len());
        for &bytes in sizes {
            buffers.push(self.allocate(gpu, label, bytes, true).await?);
        }
        Ok(buffers)
    }

    /// Allocates a buffer whose contents belong to the caller.
    pub(super) async fn kept(&mut self, gpu: &Gpu, label: &str, bytes: u64) -> Result<Buffer> {
        self.allocate(gpu, label, bytes, false).await
    }

    async fn allocate(&mut self, gpu: &Gpu, label: &str, bytes: u64, scratch: bool) -> Result<Buffer> {
        if !self.wanted {
            return gpu.buffer_async(label, bytes).await;
        }
        let buffer = gpu.buffer_async(label, bytes + ZONE).await?;
        self.buffers.push(Guarded { buffer: buffer.clone(), end: bytes, scratch });
        Ok(buffer)
    }

    /// The binding that a kernel sees: with the guard zone where there is one.
    pub(super) fn view(&self, binding: Binding) -> Binding {
        let guarded = |g: &Guarded| g.buffer.same(&binding.buffer) && binding.offset == 0;
        if self.buffers.iter().any(guarded) { binding.buffer.whole() } else { binding }
    }

    /// Fills the zones, and all scratch memory.
    pub(super) fn fill(&self, gpu: &Gpu) -> Result<()> {
        for guarded in &self.buffers {
            if guarded.scratch {
                let words = vec![SCRATCH; (CHUNK.min(guarded.end) / 4) as usize];
                for at in (0..guarded.end).step_by(CHUNK as usize) {
                    let bytes = CHUNK.min(guarded.end - at);
                    gpu.write(&guarded.buffer, at, bytemuck::cast_slice(&words[..(bytes / 4) as usize]))?;
                }
            }
            let zone = vec![guarded.word(); ((guarded.buffer.size() - guarded.end) / 4) as usize];
            gpu.write(&guarded.buffer, guarded.end, bytemuck::cast_slice(&zone))?;
        }
        Ok(())
    }

    /// Whether every zone is as it was filled.
    pub(super) async fn hold(&self, gpu: &Gpu) -> Result<bool> {
        for guarded in &self.buffers {
            let size = guarded.buffer.size() - guarded.end;
            let zone = Binding { buffer: guarded.buffer.clone(), offset: guarded.end, size };
            let words: Vec<u32> = bytemuck::pod_collect_to_vec(&gpu.read_async(&zone).await?);
            if words.iter().any(|&word| word != guarded.word()) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
