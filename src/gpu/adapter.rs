//! Which adapters there are and which one is taken.

use super::backend::{self, Backend};
use super::cards;
use super::device::Options;
use super::wait::{self, blocking};
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

    /// The word for it.
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

/// The backends that are asked, and the compiler that Direct3D 12 uses.
struct Search {
    backends: wgpu::Backends,
    compiler: wgpu::Dx12Compiler,
    validation: bool,
}

impl Search {
    fn of(options: &Options) -> Self {
        let asked = options.backends.as_deref().unwrap_or(&Backend::ALL);
        Self {
            backends: asked.iter().map(|backend| backend.raw()).collect(),
            compiler: backend::compiler(options.dx12_compiler),
            validation: options.validation,
        }
    }

    fn instance(&self) -> wgpu::Instance {
        let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
        descriptor.backends = self.backends;
        descriptor.flags = wgpu::InstanceFlags::from_build_config();
        if self.validation {
            descriptor.flags |= wgpu::InstanceFlags::debugging();
        }
        descriptor.backend_options.dx12.shader_compiler = self.compiler.clone();
        wgpu::Instance::new(descriptor)
    }

    /// Those of the backends that this build has.
    fn names(&self) -> String {
        let enabled = wgpu::Instance::enabled_backend_features() & self.backends;
        let names: Vec<&str> =
            Backend::ALL.iter().filter(|b| enabled.contains(b.raw())).map(|b| b.name()).collect();
        if names.is_empty() { "none".into() } else { names.join(", ") }
    }
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
        compiler: (info.backend == wgpu::Backend::Dx12).then(|| backend::compiler_name(compiler)),
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

/// Every adapter of the backends that are asked, best first: discrete, integrated, virtual, software. Adapters of one card stand
/// together, Vulkan before Direct3D 12.
async fn list(mut search: Search) -> Vec<(AdapterReport, wgpu::Adapter)> {
    let mut found = enumerate(&search).await;
    search.backends &= wgpu::Backends::DX12;
    let has_dx12 = found.iter().any(|(report, ..)| report.backend == "dx12");
    // DXC gives programs of shader model 6, so drivers without it are not listed; nor is any where its library does not load.
    let by_dxc = !matches!(search.compiler, wgpu::Dx12Compiler::Fxc);
    if cfg!(windows) && !search.backends.is_empty() && !has_dx12 && by_dxc {
        search.compiler = wgpu::Dx12Compiler::Fxc;
        let by_fxc = enumerate(&search).await;
        if !by_fxc.is_empty() {
            tracing::warn!("no driver of Direct3D 12 takes what DXC compiles, so FXC does");
        }
        found.extend(by_fxc);
    }
    cards::sort(found)
}

async fn enumerate(search: &Search) -> Vec<(AdapterReport, cards::Numbers, wgpu::Adapter)> {
    let computes = |adapter: &wgpu::Adapter| {
        adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS)
    };
    wait::adapters(&search.instance(), search.backends)
        .await
        .into_iter()
        .filter(computes)
        .map(|adapter| {
            let info = adapter.get_info();
            let numbers = cards::Numbers { vendor: info.vendor, device: info.device };
            (report(&adapter, &search.compiler), numbers, adapter)
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

/// Lists the adapters and says which one [`super::Gpu::open`] takes by `options`, without opening it.
///
/// # Errors
/// [`Error::NoAdapter`], [`Error::UnknownDevice`].
pub async fn survey_async(options: &Options) -> Result<Survey> {
    let adapters: Vec<_> = list(Search::of(options)).await.into_iter().map(|(report, _)| report).collect();
    let cards::Pick { order, reason } = pick(&adapters, options)?;
    Ok(Survey { adapters, chosen: order[0], reason })
}

/// [`survey_async`], blocking the thread.
///
/// # Errors
/// As [`survey_async`]; [`Error::CannotBlock`] in a browser.
pub fn survey(options: &Options) -> Result<Survey> {
    blocking(survey_async(options))
}

/// The adapters to open: first the one that is wanted, or the best, then those of the same card under other backends.
pub(super) async fn choose(options: &Options) -> Result<Vec<(AdapterReport, wgpu::Adapter)>> {
    let all = list(Search::of(options)).await;
    let reports: Vec<AdapterReport> = all.iter().map(|(report, _)| report.clone()).collect();
    let order = pick(&reports, options)?.order;
    let mut chosen: Vec<_> = all.into_iter().filter(|(report, _)| order.contains(&report.index)).collect();
    chosen.sort_by_key(|(report, _)| order.iter().position(|&index| index == report.index));
    Ok(chosen)
}

fn pick(all: &[AdapterReport], options: &Options) -> Result<cards::Pick> {
    cards::pick(all, options.device.as_deref())?.ok_or_else(|| {
        let tried = Search::of(options).names();
        let remedy = if tried == "none" { NO_BACKEND } else { NO_DRIVER };
        Error::NoAdapter { tried, remedy: remedy.to_owned() }
    })
}

const NO_BACKEND: &str =
    "this build has none of the backends that were asked for; ask for another, or for any";

const NO_DRIVER: &str = if cfg!(target_os = "linux") {
    "install the Vulkan driver of your GPU, or a software one (Debian and Ubuntu: mesa-vulkan-drivers; Fedora: \
     mesa-vulkan-drivers; Arch: vulkan-swrast), for which `sh tools/setup.sh` suffices"
} else if cfg!(target_family = "wasm") {
    "this browser offers no WebGPU: update it, or turn on its hardware acceleration, then load the page again"
} else if cfg!(target_os = "windows") {
    "install the graphics driver of your GPU's maker"
} else {
    "Metal needs macOS 10.13 or later"
};

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
