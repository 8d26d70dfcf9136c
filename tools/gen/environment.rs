//! What the environment says. The tool, the tests and the benchmarks read it here; the library reads none.

use std::ffi::OsString;
use std::path::PathBuf;

use langevin::gpu::{Backend, Dx12Compiler, Options};
use langevin::graph::{Class, KernelRequest};

/// The adapter, where the command line names none.
pub const ADAPTER: &str = "WGPU_ADAPTER_NAME";
/// The backends to ask for adapters, with commas between.
pub const BACKEND: &str = "WGPU_BACKEND";
/// What compiles kernels on Direct3D 12.
pub const DX12_COMPILER: &str = "WGPU_DX12_COMPILER";
/// `1` has the driver's validation layers look on.
pub const VALIDATION: &str = "WGPU_VALIDATION";
/// The folder of caches.
pub const CACHE: &str = "LANGEVIN_CACHE";
/// Classes of kernels, or `tune` or `written`.
pub const KERNELS: &str = "LANGEVIN_KERNELS";
/// `1` keeps the shaders' bounds checks.
pub const CHECKED: &str = "LANGEVIN_CHECKED";

/// A variable that is set and not empty.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn text(name: &str) -> Option<String> {
    variable(name).map(|value| value.to_string_lossy().into_owned())
}

/// Whether a variable is `1`.
pub fn is_on(name: &str) -> bool {
    variable(name).is_some_and(|value| value == "1")
}

/// What `LANGEVIN_KERNELS` asks for.
pub fn kernels() -> langevin::Result<KernelRequest> {
    text(KERNELS).unwrap_or_default().parse()
}

/// How a device is opened.
///
/// # Errors
/// Those of [`kernels`].
pub fn options() -> langevin::Result<Options> {
    Ok(Options {
        device: text(ADAPTER),
        checked: is_on(CHECKED),
        baseline: false,
        cooperative: kernels()?.names(Class::Cooperative),
        backends: text(BACKEND).map(|names| backends(&names)),
        dx12_compiler: text(DX12_COMPILER).and_then(|name| compiler(&name)),
        validation: is_on(VALIDATION),
        cache_folder: cache_folder(),
    })
}

/// Those of the named backends that the library knows. wgpu's short names count too, and names of what has no compute shaders name none.
pub fn backends(names: &str) -> Vec<Backend> {
    let named = |name: &str| match name.trim().to_lowercase().as_str() {
        "vk" => Some(Backend::Vulkan),
        "mtl" => Some(Backend::Metal),
        "d3d12" => Some(Backend::Dx12),
        name => name.parse().ok(),
    };
    names.split(',').filter_map(named).collect()
}

/// The compiler of that name; none for a name that says nothing.
pub fn compiler(name: &str) -> Option<Dx12Compiler> {
    match name.trim().to_lowercase().as_str() {
        "fxc" => Some(Dx12Compiler::Fxc),
        "dxc" | "dynamicdxc" => Some(Dx12Compiler::Dxc),
        _ => None,
    }
}

/// The folder of caches: `LANGEVIN_CACHE`, else `langevin` in the system's folder for caches; none where there is neither.
pub fn cache_folder() -> Option<PathBuf> {
    let folder = |name: &str| variable(name).map(PathBuf::from);
    let home = || folder("HOME").map(|home| home.join(".cache"));
    let system = if cfg!(windows) { folder("LOCALAPPDATA") } else { folder("XDG_CACHE_HOME").or_else(home) };
    folder(CACHE).or_else(|| Some(system?.join("langevin")))
}

/// Where packed data sets are kept: `data` in the folder of caches.
pub fn data_folder() -> Option<PathBuf> {
    Some(cache_folder()?.join("data"))
}

/// A variable that may be why no adapter answered, with what to do about it.
pub fn why_no_adapter() -> Option<String> {
    if let Some(asked) = text(BACKEND) {
        return Some(format!("{BACKEND} = {asked} leaves out other backends: unset it"));
    }
    // Where the loader is told which drivers to read, one more of the system's would not be seen.
    let files = |name: &'static str| Some((name, text(name).filter(|_| cfg!(target_os = "linux"))?));
    let (name, files) = files("VK_DRIVER_FILES").or_else(|| files("VK_ICD_FILENAMES"))?;
    Some(format!("{name} = {files} is all that the Vulkan loader reads: mend the path or unset it"))
}

/// Keeps Mesa's layer for choosing a device out of the process where it could only complain: without
/// `XDG_RUNTIME_DIR` there is no Wayland display to ask, and the attempt prints an error on stderr. The order of
/// adapters is the library's in any case. Does nothing unless it is called before the process has a second thread.
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
