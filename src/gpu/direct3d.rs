//! Which compiler makes Direct3D 12's programs of our kernels.
//!
//! FXC is a part of Windows. It is old: shader model 5.1, without f16 and subgroups, and about a second for a large kernel. DXC knows all
//! of them and takes a tenth of the time, but a program has to bring it. So DXC compiles where its library lies beside the program, and
//! FXC elsewhere, or where the driver lacks shader model 6. `WGPU_DX12_COMPILER` (`fxc`, `dxc`) overrules that.

use std::path::PathBuf;

/// The word for FXC in reports.
pub(super) const FXC: &str = "FXC";
/// DXC's library.
const LIBRARY: &str = "dxcompiler.dll";

/// What to ask wgpu for.
pub(super) fn compiler() -> wgpu::Dx12Compiler {
    wgpu::Dx12Compiler::from_env().unwrap_or_else(|| match beside_the_program() {
        Some(library) => wgpu::Dx12Compiler::DynamicDxc { dxc_path: library.to_string_lossy().into_owned() },
        None => wgpu::Dx12Compiler::Fxc,
    })
}

/// DXC's library, by its full path: a bare name would be looked for along the PATH, where anything may lie.
fn beside_the_program() -> Option<PathBuf> {
    let library = std::env::current_exe().ok()?.with_file_name(LIBRARY);
    (cfg!(windows) && library.is_file()).then_some(library)
}

/// The word for a compiler in reports.
pub(super) fn name(compiler: &wgpu::Dx12Compiler) -> &'static str {
    match compiler {
        wgpu::Dx12Compiler::Fxc => FXC,
        wgpu::Dx12Compiler::DynamicDxc { .. } | wgpu::Dx12Compiler::StaticDxc => "DXC",
        wgpu::Dx12Compiler::Auto => "DXC or FXC",
    }
}
