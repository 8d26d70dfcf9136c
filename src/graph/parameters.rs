//! Parameters in memory: one canonical layout for weights, gradients, Adam moments and EMA, so that the optimizer is
//! one pass over each segment.

use std::collections::HashMap;
use std::sync::Arc;

use super::shape::Shape;
use crate::error::{Error, Result};
use crate::gpu::{Binding, Buffer, Gpu, blocking};

/// Largest segment in bytes: the smallest limit on bindings among the devices we run on.
const SEGMENT_BYTES: u64 = 128 << 20;
/// Each tensor begins at a multiple of this many bytes, the largest alignment that a device may ask of a binding.
pub(super) const ALIGNMENT: u64 = 256;

/// Where a tensor lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The tensor's name.
    pub name: String,
    /// Its sizes, in the order of the authors' files.
    pub shape: Shape,
    /// Which segment.
    pub segment: usize,
    /// First byte in that segment.
    pub offset: u64,
}

impl Slot {
    /// Bytes of the elements.
    pub fn bytes(&self) -> u64 {
        4 * self.shape.elements() as u64
    }
}

/// Names, shapes and places of a set of tensors. Between tensors there are zeros, and nothing writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParameterLayout {
    slots: Vec<Slot>,
    by_name: HashMap<String, usize>,
    segments: Vec<u64>,
}

impl ParameterLayout {
    /// Lays out tensors in the order given, in segments of at most `limit` bytes or 128 MiB, whichever is less.
    ///
    /// # Errors
    /// [`Error::Limit`] when one tensor is larger than a segment, [`Error::Invalid`] when a name comes twice.
    pub fn new<'a>(tensors: impl IntoIterator<Item = (&'a str, Shape)>, limit: u64) -> Result<Self> {
        let largest = SEGMENT_BYTES.min(limit);
        let mut layout = Self::default();
        for (name, shape) in tensors {
            let bytes = 4 * shape.elements() as u64;
            if bytes > largest {
                return Err(Error::Limit {
                    what: format!("parameter {name} ({shape})"),
                    needed: bytes,
                    limit: largest,
                    unit: "bytes in one binding",
                    remedy: "choose a smaller model",
                });
            }
            let offset = match layout.segments.last() {
                Some(&used) if used + bytes <= largest => used,
                _ => {
                    layout.segments.push(0);
                    0
                }
            };
            let segment = layout.segments.len() - 1;
            layout.segments[segment] = (offset + bytes).next_multiple_of(ALIGNMENT);
            if layout.by_name.insert(name.to_owned(), layout.slots.len()).is_some() {
                return Err(Error::invalid("parameter", name, "the name comes twice"));
            }
            layout.slots.push(Slot { name: name.to_owned(), shape, segment, offset });
        }
        Ok(layout)
    }

    /// The tensors in order.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The slot of a name.
    pub fn slot(&self, name: &str) -> Option<&Slot> {
        self.by_name.get(name).map(|&i| &self.slots[i])
    }

    /// Bytes of each segment.
    pub fn segments(&self) -> &[u64] {
        &self.segments
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().sum()
    }
}

/// A set of tensors on the device: weights, gradients, a moment of Adam, an average.
#[derive(Clone, Debug)]
pub struct ParameterSet {
    layout: Arc<ParameterLayout>,
    segments: Vec<Buffer>,
    gpu: Gpu,
}

impl ParameterSet {
    /// Allocates zeros for every tensor of `layout`.
    ///
    /// # Errors
    /// As [`Gpu::buffer_async`].
    pub async fn zeros_async(gpu: &Gpu, name: &str, layout: &Arc<ParameterLayout>) -> Result<Self> {
        let mut segments = Vec::with_capacity(layout.segments.len());
        for (i, &bytes) in layout.segments.iter().enumerate() {
            segments.push(gpu.buffer_async(&format!("{name}.{i}"), bytes).await?);
        }
        Ok(Self { layout: Arc::clone(layout), segments, gpu: gpu.clone() })
    }

    /// [`ParameterSet::zeros_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn zeros(gpu: &Gpu, name: &str, layout: &Arc<ParameterLayout>) -> Result<Self> {
        blocking(Self::zeros_async(gpu, name, layout))
    }

    /// The layout.
    pub fn layout(&self) -> &Arc<ParameterLayout> {
        &self.layout
    }

    /// The memory of a segment.
    pub fn segment(&self, index: usize) -> Option<Binding> {
        self.segments.get(index).map(Buffer::whole)
    }

    /// The memory of a tensor.
    pub fn binding(&self, name: &str) -> Option<Binding> {
        let slot = self.layout.slot(name)?;
        let buffer = self.segments[slot.segment].clone();
        Some(Binding { buffer, offset: slot.offset, size: slot.bytes() })
    }

    fn find(&self, name: &str) -> Result<Binding> {
        self.binding(name).ok_or_else(|| Error::UnknownName {
            kind: "parameter",
            name: name.into(),
            nearest: None,
        })
    }

    /// Writes a tensor.
    ///
    /// # Errors
    /// [`Error::UnknownName`], or [`Error::Shape`] when `data` has another number of elements.
    pub fn write(&self, name: &str, data: &[f32]) -> Result<()> {
        let binding = self.find(name)?;
        if binding.size != 4 * data.len() as u64 {
            let problem = format!("{name} has {} elements, {} were given", binding.size / 4, data.len());
            return Err(Error::shape("parameter", problem, "check that the file belongs to this model"));
        }
        self.gpu.write(&binding.buffer, binding.offset, bytemuck::cast_slice(data))
    }

    /// Reads a tensor back.
    ///
    /// # Errors
    /// [`Error::UnknownName`]; as [`Gpu::read_async`].
    pub async fn read_async(&self, name: &str) -> Result<Vec<f32>> {
        let bytes = self.gpu.read_async(&self.find(name)?).await?;
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }

    /// [`ParameterSet::read_async`], blocking the thread.
    ///
    /// # Errors
    /// [`Error::UnknownName`]; as [`Gpu::read`].
    pub fn read(&self, name: &str) -> Result<Vec<f32>> {
        blocking(self.read_async(name))
    }

    /// [`ParameterSet::read_all_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub fn read_all(&self) -> Result<Vec<Vec<f32>>> {
        blocking(self.read_all_async())
    }

    /// Reads every tensor back, a segment at a time, in the layout's order.
    ///
    /// # Errors
    /// As [`Gpu::read_async`].
    pub async fn read_all_async(&self) -> Result<Vec<Vec<f32>>> {
        let mut segments = Vec::with_capacity(self.segments.len());
        for segment in &self.segments {
            segments.push(self.gpu.read_async(&segment.whole()).await?);
        }
        Ok(self
            .layout
            .slots
            .iter()
            .map(|slot| {
                let start = slot.offset as usize;
                bytemuck::pod_collect_to_vec(&segments[slot.segment][start..start + slot.bytes() as usize])
            })
            .collect())
    }

    /// Copies all tensors of `from`, which has the same layout.
    ///
    /// # Errors
    /// [`Error::Shape`] when the layouts differ.
    pub fn copy_from(&self, from: &Self) -> Result<()> {
        if self.layout != from.layout {
            return Err(Error::shape(
                "parameter",
                "the two sets are laid out differently",
                "use sets of one model",
            ));
        }
        for (to, from) in self.segments.iter().zip(&from.segments) {
            self.gpu.copy(&from.whole(), &to.whole())?;
        }
        Ok(())
    }
}
