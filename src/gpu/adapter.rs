//! Which adapters there are and which one is taken.

use super::wait::{self, blocking};
use super::{cards, direct3d};
use crate::error::{Error, Result};

/// What kind of processor an adapter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the processor's memory.
    Integrated,
    /// A GPU behind a virtual machine, or one that does not say.
    Virtual,
    /// A driver that runs on the processor.
    Software,
}

impl DeviceKind {
    fn of(kind: wgpu::DeviceType) -> Self {
        match kind {
            wgpu::DeviceType::DiscreteGpu => Self::Discrete,
            wgpu::DeviceType::IntegratedGpu => Self::Integrated,
            wgpu::DeviceType::Cpu => Self::Software,
            wgpu::DeviceType::VirtualGpu | wgpu::DeviceType::Other => Self::Virtual,
        }
    }

    /// The word that `gen devices` prints.
    pub fn name(self) -> &'static str {
        match self {
            Self::Discrete => "discrete",
            Self::Integrated => "integrated",
            Self::Virtual => "virtual",
            Self::Software => "software",
        }
    }
}

/// What is known of an adapter before it is opened.
#[derive(Clone, Debug)]
pub struct AdapterReport {
    /// Place in the list of [`Survey::adapters`].
    pub index: usize,
    /// Number of the card. Adapters of one card differ by their backend.
    pub card: usize,
    /// The adapter's name.
    pub name: String,
    /// What kind of processor.
    pub kind: DeviceKind,
    /// Vulkan, Metal, DX12 or a browser's WebGPU, in lower case.
    pub backend: String,
    /// What compiles kernels where the driver does not: FXC or DXC on Direct3D 12.
    pub compiler: Option<&'static str>,
    /// Driver and its version.
    pub driver: String,
    /// Memory of the device in bytes, which an integrated or software one shares with the processor; none where the backend does not say.
    pub memory: Option<u64>,
    /// Largest storage binding in bytes.
    pub max_binding: u64,
    /// Largest buffer in bytes.
    pub max_buffer: u64,
    /// Workgroup memory in bytes.
    pub workgroup_memory: u32,
    /// Most invocations in a workgroup.
    pub max_invocations: u32,
    /// Storage buffers a shader may see.
    pub storage_buffers: u32,
    /// f16 in shaders.
    pub f16: bool,
    /// Subgroup operations, with the smallest and largest size.
    pub subgroups: Option<(u32, u32)>,
    /// Timestamp queries.
    pub timestamps: bool,
    /// Cooperative matrices, of whatever sizes.
    pub cooperative_matrix: bool,
    /// Rows and columns of those that kernels use: square, of f16 with sums in f32.
    pub cooperative_edge: Option<u32>,
}

impl AdapterReport {
    /// Refuses what is larger than the memory that the driver names: of a discrete device its own, of an integrated one the part of the
    /// processor's that it may use. A software device takes whatever the system gives.
    ///
    /// # Errors
    /// [`Error::Limit`] with both figures.
    pub fn check_room(&self, what: &str, needed: u64) -> Result<()> {
        match self.memory {
            Some(limit) if self.kind != DeviceKind::Software && needed > limit => Err(Error::Limit {
                what: what.to_owned(),
                needed,
                limit,
                unit: "bytes of memory",
                remedy: "use a smaller batch",
            }),
            _ => Ok(()),
        }
    }
}

fn instance(backends: wgpu::Backends, compiler: &wgpu::Dx12Compiler) -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = backends;
    descriptor.flags = wgpu::InstanceFlags::from_build_config().with_env();
    descriptor.backend_options.dx12.shader_compiler = compiler.clone();
    wgpu::Instance::new(descriptor)
}

/// The backends that are asked for an adapter. WebGPU is that of a browser, where it is the only one.
const BACKENDS: [(wgpu::Backends, &str); 4] = [
    (wgpu::Backends::VULKAN, "vulkan"),
    (wgpu::Backends::METAL, "metal"),
    (wgpu::Backends::DX12, "dx12"),
    (wgpu::Backends::BROWSER_WEBGPU, "webgpu"),
];

fn backends() -> wgpu::Backends {
    let ours: wgpu::Backends = BACKENDS.iter().map(|(backend, _)| *backend).collect();
    wgpu::Backends::from_env().map_or(ours, |asked| asked & ours)
}

fn backend_names() -> String {
    let enabled = wgpu::Instance::enabled_backend_features() & backends();
    let names: Vec<&str> =
        BACKENDS.iter().filter(|(backend, _)| enabled.contains(*backend)).map(|(_, name)| *name).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

fn report(adapter: &wgpu::Adapter, compiler: &wgpu::Dx12Compiler) -> AdapterReport {
    let info = adapter.get_info();
    let limits = adapter.limits();
    let features = adapter.features();
    AdapterReport {
        index: 0,
        card: 0,
        kind: DeviceKind::of(info.device_type),
        backend: info.backend.to_string(),
        compiler: (info.backend == wgpu::Backend::Dx12).then(|| direct3d::name(compiler)),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        memory: super::heaps::memory(adapter),
        max_binding: limits.max_storage_buffer_binding_size,
        max_buffer: limits.max_buffer_size,
        workgroup_memory: limits.max_compute_workgroup_storage_size,
        max_invocations: limits.max_compute_invocations_per_workgroup,
        storage_buffers: limits.max_storage_buffers_per_shader_stage,
        f16: features.contains(wgpu::Features::SHADER_F16),
        subgroups: features
            .contains(wgpu::Features::SUBGROUP)
            .then_some((info.subgroup_min_size, info.subgroup_max_size)),
        timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        cooperative_matrix: features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
        cooperative_edge: cooperative_edge(adapter, info.backend),
        // A browser may keep the name to itself.
        name: if info.name.is_empty() { "unnamed".to_owned() } else { info.name },
    }
}

/// The edge of the cooperative matrices that kernels can use: 16 on Vulkan, where drivers list what they have, and 8 on Metal.
fn cooperative_edge(adapter: &wgpu::Adapter, backend: wgpu::Backend) -> Option<u32> {
    if !adapter.features().contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
        return None;
    }
    let wanted = match backend {
        wgpu::Backend::Vulkan => 16,
        wgpu::Backend::Metal => 8,
        _ => return None,
    };
    let (f16, f32) = (wgpu::CooperativeScalarType::F16, wgpu::CooperativeScalarType::F32);
    let is_it = |c: &wgpu::CooperativeMatrixProperties| {
        [c.m_size, c.n_size, c.k_size] == [wanted; 3] && (c.ab_type, c.cr_type) == (f16, f32)
    };
    adapter.cooperative_matrix_properties().iter().any(is_it).then_some(wanted)
}

/// Every adapter of the enabled backends (`WGPU_BACKEND` narrows them), best first: discrete, integrated, virtual, software. Adapters of
/// one card stand together, Vulkan before Direct3D 12.
async fn list() -> Vec<(AdapterReport, wgpu::Adapter)> {
    let compiler = direct3d::compiler();
    let mut found = enumerate(backends(), &compiler).await;
    let dx12 = wgpu::Backends::DX12 & backends();
    let has_dx12 = found.iter().any(|(report, ..)| report.backend == "dx12");
    // DXC gives programs of shader model 6, so drivers without it are not listed; nor is any where its library does not load.
    if cfg!(windows) && !dx12.is_empty() && !has_dx12 && !matches!(compiler, wgpu::Dx12Compiler::Fxc) {
        let by_fxc = enumerate(dx12, &wgpu::Dx12Compiler::Fxc).await;
        if !by_fxc.is_empty() {
            tracing::warn!("no driver of Direct3D 12 takes what DXC compiles, so FXC does");
        }
        found.extend(by_fxc);
    }
    cards::sort(found)
}

async fn enumerate(
    backends: wgpu::Backends,
    compiler: &wgpu::Dx12Compiler,
) -> Vec<(AdapterReport, cards::Numbers, wgpu::Adapter)> {
    let computes = |adapter: &wgpu::Adapter| {
        adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS)
    };
    wait::adapters(&instance(backends, compiler), backends)
        .await
        .into_iter()
        .filter(computes)
        .map(|adapter| {
            let info = adapter.get_info();
            let numbers = cards::Numbers { vendor: info.vendor, device: info.device };
            (report(&adapter, compiler), numbers, adapter)
        })
        .collect()
}

/// The adapters there are, and the one that is taken.
#[derive(Clone, Debug)]
pub struct Survey {
    /// All of them, best first.
    pub adapters: Vec<AdapterReport>,
    /// The index of the one that is taken.
    pub chosen: usize,
    /// Why that one, in words.
    pub reason: String,
}

/// Lists the adapters and says which one [`super::Gpu::open`] takes for `device`, without opening it.
///
/// # Errors
/// [`Error::NoAdapter`], [`Error::UnknownDevice`].
pub async fn survey_async(device: Option<&str>) -> Result<Survey> {
    let adapters: Vec<_> = list().await.into_iter().map(|(report, _)| report).collect();
    let cards::Pick { order, reason } = pick(&adapters, device)?;
    Ok(Survey { adapters, chosen: order[0], reason })
}

/// [`survey_async`], blocking the thread.
///
/// # Errors
/// As [`survey_async`]; [`Error::CannotBlock`] in a browser.
pub fn survey(device: Option<&str>) -> Result<Survey> {
    blocking(survey_async(device))
}

/// The adapters to open for `wanted` (an index, a part of a name, `cpu`, a backend, `NAME:BACKEND`), else for `WGPU_ADAPTER_NAME`, else
/// the best: first the one that is wanted, then those of the same card under other backends.
pub(super) async fn choose(wanted: Option<&str>) -> Result<Vec<(AdapterReport, wgpu::Adapter)>> {
    let all = list().await;
    let reports: Vec<AdapterReport> = all.iter().map(|(report, _)| report.clone()).collect();
    let order = pick(&reports, wanted)?.order;
    let mut chosen: Vec<_> = all.into_iter().filter(|(report, _)| order.contains(&report.index)).collect();
    chosen.sort_by_key(|(report, _)| order.iter().position(|&index| index == report.index));
    Ok(chosen)
}

fn pick(all: &[AdapterReport], wanted: Option<&str>) -> Result<cards::Pick> {
    let from_environment = std::env::var("WGPU_ADAPTER_NAME").ok().filter(|name| !name.is_empty());
    let by = if wanted.is_some() { "--device" } else { "WGPU_ADAPTER_NAME" };
    let picked = cards::pick(all, wanted.or(from_environment.as_deref()), by)?;
    picked.ok_or_else(|| Error::NoAdapter { tried: backend_names(), remedy: remedy() })
}

/// Keeps Mesa's layer for choosing a device out of the process where it could only complain: without
/// `XDG_RUNTIME_DIR` there is no Wayland display to ask, and the attempt prints an error on stderr. The order of
/// adapters is ours in any case. Does nothing unless it is called before the process has a second thread.
pub fn silence_device_select() {
    let set = |name: &str| std::env::var_os(name).is_some();
    // MESA_VK_DEVICE_SELECT is a person's wish to that very layer.
    if !cfg!(target_os = "linux") || set("XDG_RUNTIME_DIR") || set("MESA_VK_DEVICE_SELECT") {
        return;
    }
    let alone = std::path::Path::new("/proc/self/task").read_dir().is_ok_and(|threads| threads.count() == 1);
    if alone {
        // SAFETY: this is the only thread, so nothing else reads or writes the environment meanwhile.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

fn remedy() -> String {
    if let Some(asked) = std::env::var_os("WGPU_BACKEND").filter(|_| backend_names() == "none") {
        let asked = asked.to_string_lossy();
        return format!(
            "WGPU_BACKEND = {asked} names none that works here: unset it, then try `gen devices`"
        );
    }
    // Where the loader is told which drivers to read, one more of the system's would not be seen.
    for name in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
        if let Some(files) =
            std::env::var_os(name).filter(|files| !files.is_empty() && cfg!(target_os = "linux"))
        {
            let files = files.to_string_lossy();
            return format!(
                "{name} = {files} is all that the Vulkan loader reads: mend the path or unset it, then try `gen devices`"
            );
        }
    }
    let by_system = if cfg!(target_os = "linux") {
        "install the Vulkan driver of your GPU, or a software one (Debian and Ubuntu: mesa-vulkan-drivers; Fedora: \
         mesa-vulkan-drivers; Arch: vulkan-swrast), for which `sh tools/setup.sh` suffices, then try `gen devices`"
    } else if cfg!(target_family = "wasm") {
        "this browser offers no WebGPU: update it, or turn on its hardware acceleration, then load the page again"
    } else if cfg!(target_os = "windows") {
        "install the graphics driver of your GPU's maker, then try `gen devices`"
    } else {
        "Metal needs macOS 10.13 or later; try `gen devices`"
    };
    by_system.to_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::gpu) fn report(kind: DeviceKind, memory: Option<u64>) -> AdapterReport {
        AdapterReport {
            index: 0,
            card: 0,
            name: String::new(),
            kind,
            backend: String::new(),
            compiler: None,
            driver: String::new(),
            memory,
            max_binding: 1 << 27,
            max_buffer: 1 << 28,
            workgroup_memory: 1 << 14,
            max_invocations: 256,
            storage_buffers: 8,
            f16: false,
            subgroups: None,
            timestamps: false,
            cooperative_matrix: false,
            cooperative_edge: None,
        }
    }

    #[test]
    fn a_device_has_room_for_what_its_driver_names() {
        let discrete = report(DeviceKind::Discrete, Some(8 << 30));
        assert!(discrete.check_room("the step", 8 << 30).is_ok());
        let refused = discrete.check_room("the step", 9 << 30).unwrap_err().to_string();
        assert!(refused.contains("the step needs 9663676416 bytes of memory"), "{refused}");
        assert!(report(DeviceKind::Discrete, None).check_room("the step", 9 << 30).is_ok());
        let integrated = report(DeviceKind::Integrated, Some(8 << 30));
        assert!(integrated.check_room("the step", 8 << 30).is_ok());
        assert!(integrated.check_room("the step", 9 << 30).is_err());
        assert!(report(DeviceKind::Software, Some(1)).check_room("the step", 2).is_ok());
    }
}
