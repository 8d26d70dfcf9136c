//! A kernel in the languages of the backends, translated with the options that wgpu uses for trusted modules.

use std::collections::BTreeMap;
use std::error::Error;

use langevin::gpu::{Const, Kernel};
use naga::back::pipeline_constants::process_overrides;
use naga::back::{PipelineConstants, hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities as Features, ModuleInfo, ValidationFlags, Validator};
use naga::{Module, ShaderStage};

/// The languages of Direct3D 12 and Metal. FXC compiles shader model 5.1 only, and f16 needs 6.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Language {
    /// HLSL for FXC.
    Hlsl51,
    /// HLSL for DXC.
    Hlsl62,
    /// The Metal Shading Language of macOS 12.
    Msl24,
    /// The Metal Shading Language of macOS 13.
    Msl30,
}

impl Language {
    /// Whether it is HLSL; otherwise it is MSL.
    pub fn is_hlsl(self) -> bool {
        matches!(self, Self::Hlsl51 | Self::Hlsl62)
    }

    /// How files of it end.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Hlsl51 => "51.hlsl",
            Self::Hlsl62 => "62.hlsl",
            Self::Msl24 => "24.metal",
            Self::Msl30 => "30.metal",
        }
    }
}

/// The texts of `kernel` in every language that can express it, once its SPIR-V has been written too.
///
/// # Errors
/// What naga says against it.
pub fn translate(kernel: &Kernel, source: &str) -> Result<BTreeMap<Language, String>, String> {
    let (module, info) = parse(source)?;
    let spirv = spv::Options { lang_version: (1, 3), ..Default::default() };
    spv::write_vec(&module, &info, &spirv, None).map_err(|e| format!("SPIR-V: {e}"))?;

    let mut texts = BTreeMap::new();
    // Cooperative matrices are 16 × 16 on Vulkan, 8 × 8 on Metal, and unknown to HLSL.
    let cooperative = source.contains("enable wgpu_cooperative_matrix;");
    let metal = !cooperative || kernel.constants.contains(&("COOP", Const::U32(8)));
    for (language, version) in
        [(Language::Msl24, (2, 4)), (Language::Msl30, (3, 0))].into_iter().filter(|_| metal)
    {
        texts.insert(language, to_msl(kernel, &module, &info, version).map_err(|e| format!("MSL: {e}"))?);
    }
    // FXC has neither f16 nor subgroups, so its devices never draft kernels of them.
    if !cooperative && !source.contains("enable f16;") && !source.contains("subgroup") {
        let (module, info) = parse(&kernel.source_for_fxc().map_err(|e| e.to_string())?)?;
        let text = to_hlsl(&module, &info, hlsl::ShaderModel::V5_1);
        texts.insert(Language::Hlsl51, text.map_err(|e| format!("HLSL: {e}"))?);
    }
    if !cooperative {
        let text = to_hlsl(&module, &info, hlsl::ShaderModel::V6_2);
        texts.insert(Language::Hlsl62, text.map_err(|e| format!("HLSL: {e}"))?);
    }
    Ok(texts)
}

fn parse(source: &str) -> Result<(Module, ModuleInfo), String> {
    let module = naga::front::wgsl::parse_str(source).map_err(|e| e.emit_to_string(source))?;
    let features = Features::SHADER_FLOAT16
        | Features::SUBGROUP
        | Features::SUBGROUP_BARRIER
        | Features::COOPERATIVE_MATRIX;
    let mut validator = Validator::new(ValidationFlags::all(), features);
    let info = validator.validate(&module).map_err(|e| e.emit_to_string(source))?;
    Ok((module, info))
}

fn to_hlsl(module: &Module, info: &ModuleInfo, model: hlsl::ShaderModel) -> Result<String, Box<dyn Error>> {
    let options = hlsl::Options {
        shader_model: model,
        zero_initialize_workgroup_memory: false,
        restrict_indexing: false,
        force_loop_bounding: false,
        ..Default::default()
    };
    let entry = Some((ShaderStage::Compute, "main"));
    let (module, info) = process_overrides(module, info, entry, &PipelineConstants::default())?;
    let (mut text, pipeline) = (String::new(), hlsl::PipelineOptions::default());
    let written = hlsl::Writer::new(&mut text, &options, &pipeline).write(&module, &info, None)?;
    // An entry point that cannot be written is left out without an error of the whole.
    written
        .entry_point_names
        .into_iter()
        .map(|name| name.map_err(|e| e.to_string()))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(text)
}

fn to_msl(
    kernel: &Kernel,
    module: &Module,
    info: &ModuleInfo,
    version: (u8, u8),
) -> Result<String, Box<dyn Error>> {
    let slot = |binding: usize| (binding as u32, binding);
    let resources = (0..=kernel.access.len())
        .map(slot)
        .map(|(binding, at)| {
            let target = msl::BindTarget {
                buffer: Some(binding as u8),
                mutable: kernel.access.get(at) == Some(&langevin::gpu::Access::ReadWrite),
                ..Default::default()
            };
            (naga::ResourceBinding { group: 0, binding }, target)
        })
        .collect();
    // Metal tells no lengths of buffers, so wgpu binds a list of them behind the others.
    let sizes_buffer = Some(kernel.access.len() as u8 + 1);
    let entry = msl::EntryPointResources { resources, sizes_buffer, ..Default::default() };
    let unchecked = BoundsCheckPolicy::Unchecked;
    let options = msl::Options {
        lang_version: version,
        per_entry_point_map: msl::EntryPointResourceMap::from([("main".to_owned(), entry)]),
        fake_missing_bindings: false,
        bounds_check_policies: BoundsCheckPolicies {
            index: unchecked,
            buffer: unchecked,
            image_load: unchecked,
            binding_array: unchecked,
        },
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        ..Default::default()
    };
    let entry = Some((ShaderStage::Compute, "main"));
    let (module, info) = process_overrides(module, info, entry, &PipelineConstants::default())?;
    let pipeline = msl::PipelineOptions {
        entry_point: Some((ShaderStage::Compute, "main".to_owned())),
        ..Default::default()
    };
    let (text, written) = msl::write_string(&module, &info, &options, &pipeline)?;
    written.entry_point_names.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(text)
}
