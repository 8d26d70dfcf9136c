//! Device memory and ranges of it.

use std::sync::Arc;

/// A range of device memory that kernels read and write. Clones share the memory.
#[derive(Clone, Debug)]
pub struct Buffer {
    pub(super) raw: Arc<wgpu::Buffer>,
    /// Size in bytes.
    size: u64,
}

impl Buffer {
    pub(super) fn new(raw: wgpu::Buffer) -> Self {
        let size = raw.size();
        Self { raw: Arc::new(raw), size }
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// True when both are the same memory.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.raw, &other.raw)
    }

    /// The whole buffer as a binding.
    pub fn whole(&self) -> Binding {
        Binding { buffer: self.clone(), offset: 0, size: self.size }
    }
}

/// A part of a buffer as a kernel sees it.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The memory.
    pub buffer: Buffer,
    /// First byte; a multiple of 256.
    pub offset: u64,
    /// Bytes; a multiple of 4.
    pub size: u64,
}
