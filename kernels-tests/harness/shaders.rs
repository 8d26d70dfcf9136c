//! Every shader variant through naga to SPIR-V, MSL and HLSL, and through tint where it is installed; its bindings against those of its
//! launch. No device is needed.

mod bindings;
mod text;
mod translate;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use langevin::bench::suite;
use langevin::gpu::{Capabilities, DeviceKind, Kernel, shader};
use langevin::graph::{Choice, Draft, DraftOptions};

use super::OpCase;
use super::run::Runner;
use bindings::Fields;
use translate::{Language, translate};

/// Names a folder where the tests leave every kernel in the languages of Direct3D 12 and Metal.
const WRITTEN: &str = "LANGEVIN_SHADER_TEXTS";

/// Kernels by label, with the fields of their uniform blocks.
type Kernels = BTreeMap<String, (Kernel, Fields)>;

/// Devices that a candidate may ask for: the baseline, and one with every optional feature, of each kind; and a GPU of Apple's.
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
    let apple = Capabilities {
        workgroup_memory: 32 << 10,
        max_buffer: 8 << 30,
        max_binding: 4 << 30,
        subgroups: Some((4, 64)),
        ..device(DeviceKind::Integrated, true)
    };
    let common = kinds.into_iter().flat_map(|kind| [device(kind, false), device(kind, true)]);
    common.chain([apple]).collect()
}

/// Validates every kernel that the cases reach on any of the devices, forward and backward.
pub fn validate(op: &str, cases: &[OpCase]) {
    let mut kernels = Kernels::new();
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
                    collect(&mut kernels, &draft);
                    pick += 1;
                    if pick >= candidates {
                        break;
                    }
                }
            }
        }
    }
    let reached: BTreeSet<&str> = kernels.values().map(|(kernel, _)| kernel.shader).collect();
    let is_entry = |path: &str, text: &str| path.starts_with(&format!("{op}/")) && text.contains("@compute");
    let missed: Vec<&str> = shader::FILES
        .iter()
        .filter(|(p, t)| is_entry(p, t) && !reached.contains(p))
        .map(|(p, _)| *p)
        .collect();
    assert!(missed.is_empty(), "no case reaches {}", missed.join(", "));
    assert_accepted(&kernels);
}

/// Adds the kernels of a draft; those of one label must have the same bindings and fields.
fn collect(kernels: &mut Kernels, draft: &Draft) {
    for (kernel, uniform) in draft.launches() {
        let fields = bindings::fields(uniform);
        let known = kernels.entry(kernel.label()).or_insert_with(|| (kernel.clone(), fields.clone()));
        assert_eq!((&known.0, &known.1), (kernel, &fields), "two kernels of one label");
    }
}

fn assert_accepted(kernels: &Kernels) {
    let problems: Vec<String> = kernels
        .iter()
        .filter_map(|(label, (kernel, fields))| Some(format!("{label}: {}", refused(kernel, fields).err()?)))
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// The kernels of networks have shapes of their own: those of everything that is measured, as a user would get them.
#[test]
fn networks() {
    let mut kernels = Kernels::new();
    for case in suite() {
        let Some(workload) = case.workload(case.batch) else { continue };
        let workload = workload.unwrap_or_else(|e| panic!("{case}: {e}"));
        for device in devices() {
            let options = DraftOptions { choice: Choice::Written, ..Default::default() };
            let draft = Draft::new(&workload.graph, &workload.outputs, &device, options);
            // A device of the least limits has no room for the largest ones.
            let Ok(draft) = draft else { continue };
            collect(&mut kernels, &draft);
        }
    }
    assert_accepted(&kernels);
}

/// What naga, the texts that it writes, or tint have against a kernel, or where its bindings are not those that the launch gives.
fn refused(kernel: &Kernel, fields: &Fields) -> Result<(), String> {
    let source = kernel.source().map_err(|e| e.to_string())?;
    bindings::compare(&source, kernel, fields)?;
    let texts = translate(kernel, &source)?;
    for (language, text) in &texts {
        let faults = text::faults(*language, text);
        if !faults.is_empty() {
            return Err(format!("{language:?}: {}", faults.join("; ")));
        }
    }
    if let Some(folder) = std::env::var_os(WRITTEN) {
        write(Path::new(&folder), kernel, &texts).map_err(|e| e.to_string())?;
    }
    // tint knows no cooperative matrices.
    if source.contains("enable wgpu_cooperative_matrix;") { Ok(()) } else { tint(&source) }
}

/// Writes a kernel's texts, for the compilers that `tools/compile_shaders.sh` runs. Kernels with the same text share a file.
fn write(folder: &Path, kernel: &Kernel, texts: &BTreeMap<Language, String>) -> std::io::Result<()> {
    for (language, text) in texts {
        let mut hasher = std::hash::DefaultHasher::new();
        text.hash(&mut hasher);
        let shader = kernel.shader.trim_end_matches(".wgsl").replace('/', "-");
        let name = format!("{shader}-{:016x}.{}", hasher.finish(), language.extension());
        std::fs::write(folder.join(name), format!("// {}\n{text}", kernel.label()))?;
    }
    Ok(())
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
