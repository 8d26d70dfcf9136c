//! The backends, and which compiler makes Direct3D 12's programs of our kernels.
//!
//! FXC is a part of Windows. It is old: shader model 5.1, without f16 and subgroups, and about a second for a large kernel. DXC knows all
//! of them and takes a tenth of the time, but a program has to bring it. So, where nobody chose, DXC compiles if its library lies beside
//! the program, and FXC elsewhere, or where the driver lacks shader model 6.

use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, Result};

/// What the library reaches a device through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Vulkan.
    Vulkan,
    /// Metal.
    Metal,
    /// Direct3D 12.
    Dx12,
    /// A browser's WebGPU, the only one there.
    WebGpu,
}

impl Backend {
    /// All, in the order in which they are tried on one card.
    pub const ALL: [Self; 4] = [Self::Vulkan, Self::Metal, Self::Dx12, Self::WebGpu];

    /// The word for it, which [`FromStr`] reads.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vulkan => "vulkan",
            Self::Metal => "metal",
            Self::Dx12 => "dx12",
            Self::WebGpu => "webgpu",
        }
    }

    pub(super) fn raw(self) -> wgpu::Backends {
        match self {
            Self::Vulkan => wgpu::Backends::VULKAN,
            Self::Metal => wgpu::Backends::METAL,
            Self::Dx12 => wgpu::Backends::DX12,
            Self::WebGpu => wgpu::Backends::BROWSER_WEBGPU,
        }
    }
}

impl FromStr for Backend {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|backend| backend.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            Error::invalid("backend", name, format!("it is one of {}", names.join(", ")))
        })
    }
}

/// A compiler of Direct3D 12's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dx12Compiler {
    /// The one that is a part of Windows.
    Fxc,
    /// The newer one: its library beside the program, else where the system looks for libraries.
    Dxc,
}

/// The word for FXC in reports.
pub(super) const FXC: &str = "FXC";
/// DXC's library.
const LIBRARY: &str = "dxcompiler.dll";

/// What to ask wgpu for.
pub(super) fn compiler(asked: Option<Dx12Compiler>) -> wgpu::Dx12Compiler {
    let dxc =
        |path: PathBuf| wgpu::Dx12Compiler::DynamicDxc { dxc_path: path.to_string_lossy().into_owned() };
    match (asked, beside_the_program()) {
        (Some(Dx12Compiler::Fxc), _) | (None, None) => wgpu::Dx12Compiler::Fxc,
        (_, Some(library)) => dxc(library),
        (Some(Dx12Compiler::Dxc), None) => dxc(LIBRARY.into()),
    }
}

/// DXC's library, by its full path: a bare name would be looked for along the PATH, where anything may lie.
fn beside_the_program() -> Option<PathBuf> {
    let library = std::env::current_exe().ok()?.with_file_name(LIBRARY);
    (cfg!(windows) && library.is_file()).then_some(library)
}

/// The word for a compiler in reports.
pub(super) fn compiler_name(compiler: &wgpu::Dx12Compiler) -> &'static str {
    match compiler {
        wgpu::Dx12Compiler::Fxc => FXC,
        wgpu::Dx12Compiler::DynamicDxc { .. } | wgpu::Dx12Compiler::StaticDxc => "DXC",
        wgpu::Dx12Compiler::Auto => "DXC or FXC",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_reads_its_own_name() {
        for backend in Backend::ALL {
            assert_eq!(backend.name().parse::<Backend>().unwrap(), backend);
            assert_eq!(backend.name().to_uppercase().parse::<Backend>().unwrap(), backend);
        }
        let refused = "gl".parse::<Backend>().unwrap_err().to_string();
        assert!(refused.contains("vulkan, metal, dx12, webgpu"), "{refused}");
    }
}
