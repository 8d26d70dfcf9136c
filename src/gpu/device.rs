//! An open device: memory, transfers, faults, counters.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::adapter::{self, AdapterReport, DeviceKind};
use super::backend::{Backend, Dx12Compiler};
use super::buffer::{Binding, Buffer};
use super::pipeline::{Access, Cache, Kernel};
use super::wait::{self, blocking};
use crate::error::{Error, Result};

/// How to open a device. The library reads no environment: whoever wants variables to have a say fills these fields from them.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// An index, a part of a name, `cpu`, a backend (`vulkan`, `metal`, `dx12`), or `NAME:BACKEND`; `None` takes the best adapter. Where
    /// no backend is named and the card's first one refuses, the next one is tried.
    pub device: Option<String>,
    /// Keep the shaders' bounds checks, loop bounds and zeroed workgroup memory: slow, for hunting bugs.
    pub checked: bool,
    /// Use no optional feature even where the device has it, as the tests of the baseline do.
    pub baseline: bool,
    /// Ask for cooperative matrices, which wgpu counts as experimental, where the adapter lists some that kernels use.
    pub cooperative: bool,
    /// The backends that are asked for adapters; `None` asks all that this build has.
    pub backends: Option<Vec<Backend>>,
    /// What compiles kernels on Direct3D 12; `None` takes DXC where its library lies beside the program, else FXC.
    pub dx12_compiler: Option<Dx12Compiler>,
    /// Have the driver's validation layers look on, where they are installed; debug builds do in any case.
    pub validation: bool,
    /// The folder in which a [`Tuner`](crate::graph::Tuner) keeps what it timed, for the next program; `None` keeps nothing.
    pub cache_folder: Option<PathBuf>,
}

/// What kernels may count on.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// What kind of processor.
    pub kind: DeviceKind,
    /// Largest storage binding in bytes.
    pub max_binding: u64,
    /// Largest buffer in bytes.
    pub max_buffer: u64,
    /// Workgroup memory in bytes; at least 16 KiB.
    pub workgroup_memory: u32,
    /// Most invocations in a workgroup; at least 256.
    pub max_invocations: u32,
    /// f16 in shaders.
    pub f16: bool,
    /// Subgroup operations, with the smallest and largest size.
    pub subgroups: Option<(u32, u32)>,
    /// Cooperative matrices of f16 with sums in f32, by their rows and columns; only where the device was opened with them.
    pub cooperative: Option<u32>,
    /// Timestamp queries around a pass.
    pub timestamps: bool,
    /// Smallest alignment of uniform blocks in a buffer.
    pub uniform_alignment: u64,
}

/// What a device has made and done so far, for tests and benchmarks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Buffers created.
    pub buffers: u64,
    /// Bytes of all buffers created, staging buffers of read-backs left out.
    pub buffer_bytes: u64,
    /// Pipelines compiled.
    pub pipelines: u64,
    /// Bind groups created.
    pub bind_groups: u64,
    /// Command buffers submitted.
    pub submissions: u64,
    /// Reads of results back to the processor; stamps of a stopwatch are none.
    pub read_backs: u64,
}

pub(super) struct Inner {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) pipelines: Cache,
    #[cfg(not(target_family = "wasm"))]
    pub(super) waiter: wait::Waiter,
    pub(super) checked: bool,
    cache_folder: Option<PathBuf>,
    report: AdapterReport,
    capabilities: Capabilities,
    counters: Mutex<Counters>,
    fault: Arc<Mutex<Option<Fault>>>,
}

/// The first thing that went wrong outside a scope; later errors are mostly its consequences.
enum Fault {
    Lost(String),
    OutOfMemory(String),
    Validation(String),
}

/// An open device. Clones share it; there is no global one.
#[derive(Clone)]
pub struct Gpu {
    pub(super) inner: Arc<Inner>,
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Gpu").field(&self.inner.report.name).finish()
    }
}

/// The smallest kernel there is.
fn probe() -> Kernel {
    Kernel {
        shader: "lookup/advance.wgsl",
        text: None,
        constants: Vec::new(),
        access: vec![Access::ReadWrite],
    }
}

async fn request(
    adapter: &wgpu::Adapter,
    features: wgpu::Features,
    limits: &wgpu::Limits,
    experimental_features: wgpu::ExperimentalFeatures,
) -> std::result::Result<(wgpu::Device, wgpu::Queue), wgpu::RequestDeviceError> {
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("langevin"),
        required_features: features,
        required_limits: limits.clone(),
        experimental_features,
        // Buffers are few, large and live as long as their plan; reserving blocks ahead would waste memory.
        memory_hints: wgpu::MemoryHints::MemoryUsage,
        ..Default::default()
    };
    wait::device(adapter, &descriptor).await
}

fn keep_first(fault: &Mutex<Option<Fault>>, new: Fault) {
    let mut first = fault.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if first.is_none() {
        *first = Some(new);
    }
}

impl Gpu {
    /// Opens the adapter that `options` choose.
    ///
    /// # Errors
    /// [`Error::NoAdapter`], [`Error::UnknownDevice`], [`Error::DeviceRefused`].
    pub async fn open_async(options: &Options) -> Result<Self> {
        let mut left = adapter::choose(options).await?.into_iter().peekable();
        loop {
            // bug: a choice that names no adapter is an error above.
            let (report, raw) = left.next().expect("an adapter at least");
            let backend = report.backend.clone();
            let Some((next, _)) = left.peek() else { return Self::on(report, &raw, options).await };
            let cause = match Self::on(report, &raw, options).await {
                // A backend that opens may still refuse to compile, so one small kernel is compiled before the card is left to it.
                Ok(gpu) => match gpu.pipelines_async(&[&probe()]).await {
                    Ok(_) => return Ok(gpu),
                    Err(cause) => cause,
                },
                Err(cause) => cause,
            };
            tracing::warn!("{backend} refuses: {cause}; trying {} on {}", next.backend, next.name);
        }
    }

    /// Opens one adapter.
    async fn on(report: AdapterReport, raw: &wgpu::Adapter, options: &Options) -> Result<Self> {
        let wanted = if options.baseline {
            wgpu::Features::empty()
        } else {
            wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY
        };
        let mut features = raw.features() & wanted;
        let limits = raw.limits();
        // Only who asks gets what is experimental, and a driver that refuses it is asked again without.
        let mut cooperative = report.cooperative_edge.filter(|_| {
            options.cooperative && features.contains(wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP)
        });
        let mut opened = None;
        if cooperative.is_some() {
            let more = features | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
            // SAFETY: wgpu's contract for experimental features is that they may have bugs, which whoever enables them takes on. It
            // is one that was asked for by name, used by one kernel that stays within its buffers as every other does.
            let experimental = unsafe { wgpu::ExperimentalFeatures::enabled() };
            match request(raw, more, &limits, experimental).await {
                Ok(device) => (opened, features) = (Some(device), more),
                Err(cause) => {
                    tracing::warn!("{} refuses cooperative matrices: {cause}", report.name);
                    cooperative = None;
                }
            }
        }
        let (device, queue) = match opened {
            Some(opened) => opened,
            None => request(raw, features, &limits, wgpu::ExperimentalFeatures::disabled())
                .await
                .map_err(|e| Error::DeviceRefused { adapter: report.name.clone(), cause: e.to_string() })?,
        };

        let fault = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&fault);
        device.on_uncaptured_error(Arc::new(move |error| {
            let cause = match error {
                wgpu::Error::OutOfMemory { source } => Fault::OutOfMemory(source.to_string()),
                wgpu::Error::Validation { description, .. } => Fault::Validation(description),
                wgpu::Error::Internal { description, .. } => Fault::Lost(description),
            };
            keep_first(&seen, cause);
        }));
        let seen = Arc::clone(&fault);
        device.set_device_lost_callback(move |reason, message| {
            let cause = if message.is_empty() { format!("{reason:?}").to_lowercase() } else { message };
            keep_first(&seen, Fault::Lost(cause));
        });

        let capabilities = Capabilities {
            kind: report.kind,
            max_binding: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
            max_buffer: limits.max_buffer_size,
            workgroup_memory: limits.max_compute_workgroup_storage_size,
            max_invocations: limits.max_compute_invocations_per_workgroup,
            f16: features.contains(wgpu::Features::SHADER_F16),
            subgroups: report.subgroups.filter(|_| features.contains(wgpu::Features::SUBGROUP)),
            cooperative,
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            uniform_alignment: u64::from(limits.min_uniform_buffer_offset_alignment).max(16),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                device,
                queue,
                pipelines: Cache::default(),
                #[cfg(not(target_family = "wasm"))]
                waiter: wait::Waiter::default(),
                checked: options.checked,
                cache_folder: options.cache_folder.clone(),
                report,
                capabilities,
                counters: Mutex::default(),
                fault,
            }),
        })
    }

    /// [`Gpu::open_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Gpu::open_async`]; [`Error::CannotBlock`] in a browser.
    pub fn open(options: &Options) -> Result<Self> {
        blocking(Self::open_async(options))
    }

    /// [`Gpu::open`] of the best adapter.
    ///
    /// # Errors
    /// As [`Gpu::open`].
    pub fn open_default() -> Result<Self> {
        Self::open(&Options::default())
    }

    /// The adapter this device was opened on.
    pub fn adapter(&self) -> &AdapterReport {
        &self.inner.report
    }

    /// What kernels may count on.
    pub fn capabilities(&self) -> &Capabilities {
        &self.inner.capabilities
    }

    /// Where what is timed on this device is kept, if anywhere.
    pub(super) fn cache_folder(&self) -> Option<&Path> {
        self.inner.cache_folder.as_deref()
    }

    /// What was made and done so far.
    pub fn counters(&self) -> Counters {
        *self.inner.counters.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn count(&self, add: impl FnOnce(&mut Counters)) {
        add(&mut self.inner.counters.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    /// The first fault of the device, if there was one.
    pub fn check(&self) -> Result<()> {
        match &*self.inner.fault.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            None => Ok(()),
            Some(Fault::Lost(cause)) => Err(Error::DeviceLost { cause: cause.clone() }),
            Some(Fault::OutOfMemory(what)) => Err(Error::OutOfMemory { what: what.clone(), bytes: 0 }),
            Some(Fault::Validation(cause)) => Err(Error::Validation { cause: cause.clone() }),
        }
    }

    /// Allocates `bytes` (rounded up to 16) of zeros for kernels to use.
    ///
    /// # Errors
    /// [`Error::Limit`] above the device's largest buffer, [`Error::OutOfMemory`].
    pub async fn buffer_async(&self, label: &str, bytes: u64) -> Result<Buffer> {
        self.make_buffer(label, bytes, wgpu::BufferUsages::STORAGE).await
    }

    /// [`Gpu::buffer_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Gpu::buffer_async`]; [`Error::CannotBlock`] in a browser.
    pub fn buffer(&self, label: &str, bytes: u64) -> Result<Buffer> {
        blocking(self.buffer_async(label, bytes))
    }

    /// Allocates a buffer for uniform blocks.
    ///
    /// # Errors
    /// As [`Gpu::buffer_async`].
    pub async fn uniform_buffer_async(&self, label: &str, bytes: u64) -> Result<Buffer> {
        self.make_buffer(label, bytes, wgpu::BufferUsages::UNIFORM).await
    }

    /// [`Gpu::uniform_buffer_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn uniform_buffer(&self, label: &str, bytes: u64) -> Result<Buffer> {
        blocking(self.uniform_buffer_async(label, bytes))
    }

    pub(super) async fn make_buffer(
        &self,
        label: &str,
        bytes: u64,
        usage: wgpu::BufferUsages,
    ) -> Result<Buffer> {
        self.check()?;
        let size = bytes.max(16).next_multiple_of(16);
        let limit = self.inner.capabilities.max_buffer;
        if size > limit {
            return Err(Error::Limit {
                what: label.to_owned(),
                needed: size,
                limit,
                unit: "bytes in one buffer",
                remedy: "use a smaller batch or image",
            });
        }
        let device = &self.inner.device;
        let descriptor = wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage: usage | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        let filters = [wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::OutOfMemory];
        let (raw, caught) = wait::scoped(device, &filters, || device.create_buffer(&descriptor));
        if caught.error().await.is_some() {
            self.check()?;
            return Err(Error::OutOfMemory { what: label.to_owned(), bytes: size });
        }
        self.count(|c| {
            c.buffers += 1;
            c.buffer_bytes += size;
        });
        Ok(Buffer::new(raw))
    }

    /// Writes `bytes` at `offset`; both multiples of 4. The write comes before every later submission.
    pub fn write(&self, buffer: &Buffer, offset: u64, bytes: &[u8]) -> Result<()> {
        self.check()?;
        self.inner.queue.write_buffer(&buffer.raw, offset, bytes);
        self.check()
    }

    /// Copies between buffers on the device.
    pub fn copy(&self, from: &Binding, to: &Binding) -> Result<()> {
        self.check()?;
        let mut encoder = self.inner.device.create_command_encoder(&Default::default());
        let size = from.size.min(to.size);
        encoder.copy_buffer_to_buffer(&from.buffer.raw, from.offset, &to.buffer.raw, to.offset, size);
        self.inner.queue.submit([encoder.finish()]);
        self.check()
    }

    /// Reads a range back. Waits for everything submitted before.
    ///
    /// # Errors
    /// As [`Gpu::wait_async`].
    pub async fn read_async(&self, range: &Binding) -> Result<Vec<u8>> {
        self.count(|c| c.read_backs += 1);
        self.fetch(range).await
    }

    /// [`Gpu::read_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Gpu::wait`].
    pub fn read(&self, range: &Binding) -> Result<Vec<u8>> {
        blocking(self.read_async(range))
    }

    pub(super) async fn fetch(&self, range: &Binding) -> Result<Vec<u8>> {
        self.check()?;
        let staging = self.inner.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("read back"),
            size: range.size,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.inner.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&range.buffer.raw, range.offset, &staging, 0, range.size);
        let copied = self.submit_encoded(encoder);
        self.mapped(&staging, copied).await
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A device for one test to break, or `None` where tests may run without one.
    pub(in crate::gpu) fn gpu() -> Option<Gpu> {
        let allowed = std::env::var_os("LANGEVIN_ALLOW_NO_GPU").is_some_and(|v| v == "1");
        match Gpu::open(&Options::default()) {
            Err(Error::NoAdapter { .. }) if allowed => None,
            opened => Some(opened.unwrap()),
        }
    }

    /// Every way into a device that went away gives the same typed error, and none panics.
    #[test]
    fn a_lost_device_is_a_typed_error() {
        let Some(gpu) = gpu() else { return };
        let buffer = gpu.buffer("before", 64).unwrap();
        gpu.inner.device.destroy();
        let lost = |what: &str, result: Result<()>| match result {
            Err(Error::DeviceLost { cause }) => assert!(!cause.is_empty(), "{what}"),
            other => panic!("{what}: {other:?}"),
        };
        lost("wait", gpu.wait());
        lost("read", gpu.read(&buffer.whole()).map(drop));
        lost("write", gpu.write(&buffer, 0, &[0; 16]));
        lost("allocate", gpu.buffer("after", 64).map(drop));
        lost("submit", gpu.submit([]).map(drop));
    }

    #[test]
    fn the_first_fault_is_the_one_that_is_told() {
        let Some(gpu) = gpu() else { return };
        gpu.check().unwrap();
        keep_first(&gpu.inner.fault, Fault::OutOfMemory("a plan".into()));
        keep_first(&gpu.inner.fault, Fault::Lost("because of it".into()));
        let told = gpu.buffer("after", 64);
        assert!(matches!(&told, Err(Error::OutOfMemory { what, .. }) if what == "a plan"), "{told:?}");
    }
}
