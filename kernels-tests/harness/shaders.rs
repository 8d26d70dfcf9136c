//! Every shader variant through naga to SPIR-V, MSL and HLSL, and through tint where it is installed. No device is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::Command;

use langevin::gpu::{Capabilities, DeviceKind, Kernel, shader};
use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities as Features, ValidationFlags, Validator};

use super::OpCase;
use super::run::Runner;

/// Devices that a candidate may ask for: the baseline, and one with every optional feature, of each kind.
fn devices() -> Vec<Capabilities> {
    let kinds = [DeviceKind::Discrete, DeviceKind::Integrated, DeviceKind::Software];
    let device = |kind, full: bool| Capabilities {
        kind,
        max_binding: 128 << 20,
        max_buffer: 256 << 20,
        workgroup_memory: if full { 48 << 10 } else { 16 << 10 },
        max_invocations: if full { 1024 } else { 256 },
        f16: full,
        subgroups: full.then_some(if kind == DeviceKind::Software { (8, 8) } else { (32, 32) }),
        cooperative: full.then_some(if kind == DeviceKind::Discrete { 16 } else { 8 }),
        timestamps: full,
        uniform_alignment: 256,
    };
    kinds.into_iter().flat_map(|kind| [device(kind, false), device(kind, true)]).collect()
}

/// Validates every kernel that the cases reach on any of the devices, forward and backward.
pub fn validate(stem: &str, cases: &[OpCase]) {
    let mut kernels: BTreeMap<String, Kernel> = BTreeMap::new();
    for case in cases.iter().filter(|case| !case.heavy) {
        let mut runners = vec![Runner::forward(case)];
        if case.backward.is_some() {
            runners.push(Runner::backward(case, &case.upstream(), &case.wanted()));
        }
        for traced in runners.iter().map(Runner::trace) {
            for device in devices() {
                let mut pick = 0;
                loop {
                    let (draft, candidates) = traced.draft(&device, pick);
                    kernels.extend(draft.kernels().map(|k| (k.label(), k.clone())));
                    pick += 1;
                    if pick >= candidates {
                        break;
                    }
                }
            }
        }
    }
    let reached: BTreeSet<&str> = kernels.values().map(|kernel| kernel.shader).collect();
    let is_entry =
        |path: &str, text: &str| path.starts_with(&format!("{stem}/")) && text.contains("@compute");
    let missed: Vec<&str> = shader::FILES
        .iter()
        .filter(|(p, t)| is_entry(p, t) && !reached.contains(p))
        .map(|(p, _)| *p)
        .collect();
    assert!(missed.is_empty(), "no case reaches {}", missed.join(", "));
    let problems: Vec<String> = kernels
        .iter()
        .filter_map(|(label, kernel)| Some(format!("{label}: {}", refused(kernel).err()?)))
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// What naga or tint has against a kernel.
fn refused(kernel: &Kernel) -> Result<(), String> {
    let source = kernel.source().map_err(|e| e.to_string())?;
    let module = naga::front::wgsl::parse_str(&source).map_err(|e| e.emit_to_string(&source))?;
    let features = Features::SHADER_FLOAT16
        | Features::SUBGROUP
        | Features::SUBGROUP_BARRIER
        | Features::COOPERATIVE_MATRIX;
    let mut validator = Validator::new(ValidationFlags::all(), features);
    let info = validator.validate(&module).map_err(|e| e.emit_to_string(&source))?;

    let spirv = spv::Options { lang_version: (1, 3), ..Default::default() };
    spv::write_vec(&module, &info, &spirv, None).map_err(|e| format!("SPIR-V: {e}"))?;
    let metal = msl::Options { lang_version: (3, 0), ..Default::default() };
    msl::write_string(&module, &info, &metal, &msl::PipelineOptions::default())
        .map_err(|e| format!("MSL: {e}"))?;
    // Neither HLSL nor tint knows cooperative matrices, and no device of theirs has them.
    if source.contains("enable wgpu_cooperative_matrix;") {
        return Ok(());
    }
    let direct3d = hlsl::Options { shader_model: hlsl::ShaderModel::V6_2, ..Default::default() };
    let (mut text, pipeline) = (String::new(), hlsl::PipelineOptions::default());
    hlsl::Writer::new(&mut text, &direct3d, &pipeline)
        .write(&module, &info, None)
        .map_err(|e| format!("HLSL: {e}"))?;
    tint(&source)
}

/// Runs tint where it is installed; it asks for `enable subgroups;`, which naga refuses.
fn tint(source: &str) -> Result<(), String> {
    let mut file = tempfile::Builder::new().suffix(".wgsl").tempfile().map_err(|e| e.to_string())?;
    let enable = if source.contains("subgroup") { "enable subgroups;\n" } else { "" };
    file.write_all(format!("{enable}{source}").as_bytes()).map_err(|e| e.to_string())?;
    match Command::new("tint").args(["--format", "wgsl"]).arg(file.path()).output() {
        Err(_) => Ok(()),
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("tint: {}", String::from_utf8_lossy(&output.stderr))),
    }
}
