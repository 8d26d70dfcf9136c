//! Folders of diffusers: flat and nested, `.safetensors` and `.bin`, known keys and unknown ones.

use std::fs;
use std::path::{Path, PathBuf};

use langevin::checkpoint;
use langevin::checkpoint::diffusers::{
    self, DdpmConfig, SampleSize, SchedulerConfig, ScoreSdeVeConfig, UNetConfig,
};

use super::{bytes, refused};

fn write(folder: &Path, name: &str, text: impl AsRef<[u8]>) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn flat_and_nested_folders() {
    let unet = r#"{"_class_name": "UNet2DModel", "sample_size": 256, "norm_num_groups": null, "block_out_channels": [128, 256],
        "mid_block_scale_factor": 1.41421356237, "time_embedding_type": "fourier", "a_key_of_next_year": {"x": [1]}}"#;
    let scheduler =
        r#"{"_class_name": "ScoreSdeVeScheduler", "sigma_max": 380, "snr": 0.075, "tensor_format": "pt"}"#;
    let index = r#"{"_class_name": "ScoreSdeVePipeline", "unet": ["diffusers", "UNet2DModel"]}"#;
    for (config, other, weights) in [
        ("config.json", "scheduler_config.json", "diffusion_pytorch_model.safetensors"),
        ("unet/config.json", "scheduler/scheduler_config.json", "unet/diffusion_pytorch_model.bin"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder, config, unet);
        write(folder, other, scheduler);
        write(folder, "model_index.json", index);
        let file = if weights.ends_with("bin") { "views.pth" } else { "views.safetensors" };
        write(folder, weights, bytes(file));

        assert_eq!(checkpoint::open(folder).unwrap().format, "diffusers", "{config}");
        let found = checkpoint::diffusers::open(folder).unwrap();
        let defaults = UNetConfig::default();
        assert_eq!(found.unet.sample_size, Some(SampleSize::Square(256)));
        assert_eq!((found.unet.norm_num_groups, found.unet.attention_head_dim), (None, Some(8)));
        assert_eq!(found.unet.block_out_channels, [128, 256]);
        assert_eq!(found.unet.down_block_types, defaults.down_block_types);
        assert_eq!(found.pipeline.as_deref(), Some("ScoreSdeVePipeline"));
        let expected = ScoreSdeVeConfig { sigma_max: 380.0, snr: 0.075, ..Default::default() };
        assert_eq!(found.scheduler, Some(SchedulerConfig::ScoreSdeVe(expected)));
        assert_eq!(found.weights, folder.join(weights));
        let tensors = found.tensors().unwrap();
        super::assert_same(
            tensors.get("transposed").unwrap(),
            super::expected("views.safetensors").get("transposed").unwrap(),
            weights,
        );
    }
}

#[test]
fn a_config_comes_back_as_it_was_written() {
    let unet = UNetConfig {
        norm_num_groups: None,
        sample_size: Some(SampleSize::Sides([32, 16])),
        ..Default::default()
    };
    let text = serde_json::to_string(&unet).unwrap();
    assert!(
        text.contains(r#""_class_name":"UNet2DModel""#) && text.contains(r#""norm_num_groups":null"#),
        "{text}"
    );
    assert_eq!(serde_json::from_str::<UNetConfig>(&text).unwrap(), unet);
    let scheduler =
        SchedulerConfig::Ddpm(DdpmConfig { variance_type: "fixed_large".into(), ..Default::default() });
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "config.json", &text);
    write(folder.path(), "scheduler_config.json", serde_json::to_string(&scheduler).unwrap());
    write(folder.path(), "diffusion_pytorch_model.bin", bytes("views.pth"));
    assert_eq!(diffusers::open(folder.path()).unwrap().scheduler, Some(scheduler));
    write(folder.path(), "scheduler_config.json", r#"{"_class_name": "PNDMScheduler"}"#);
    let other = SchedulerConfig::Other { class_name: "PNDMScheduler".into(), config: Default::default() };
    assert_eq!(serde_json::to_string(&other).unwrap(), r#"{"_class_name":"PNDMScheduler"}"#);
    // Python writes infinities as words; other keys stay as they are.
    let text =
        r#"{"_class_name":"DPMSolverMultistepScheduler","solver_order":3,"x":-Infinity,"name":"\"NaN"}"#;
    let kept = SchedulerConfig::from_json(text).unwrap();
    let expected =
        r#"{"_class_name":"DPMSolverMultistepScheduler","solver_order":3,"x":null,"name":"\"NaN"}"#;
    assert_eq!(serde_json::to_string(&kept).unwrap(), expected);
    assert_eq!(SchedulerConfig::from_json(expected).unwrap(), kept);
    assert_eq!(diffusers::open(folder.path()).unwrap().scheduler, Some(other));
}

#[test]
fn folders_that_lack_something_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(refused(diffusers::open(path), name).contains("no diffusers folder"));
    assert!(refused(checkpoint::open(path), name).contains("config.json"));
    write(path, "config.json", "{}");
    assert!(refused(diffusers::open(path), name).contains("there are no weights"));
    write(path, "diffusion_pytorch_model.safetensors.index.json", "{}");
    assert!(refused(diffusers::open(path), name).contains("in several files"));
    write(path, "config.json", r#"{"_class_name": "UNet2DConditionModel"}"#);
    assert!(refused(diffusers::open(path), "config.json").contains("UNet2DConditionModel"));
    write(path, "config.json", r#"{"in_channels": "three"}"#);
    assert!(refused(diffusers::open(path), "config.json").contains("three"));
    write(path, "config.json", vec![b' '; 2 << 20]);
    assert!(refused(diffusers::open(path), "config.json").contains("2097152 bytes"));
}

/// Folders that diffusers itself wrote, where they are at hand.
#[test]
fn folders_of_diffusers_itself() {
    let folder = std::env::var_os("LANGEVIN_GOLDENS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/goldens"), PathBuf::from)
        .join("diffusers");
    let Ok(entries) = fs::read_dir(&folder) else {
        eprintln!("{} is not there; the folders of diffusers are left out", folder.display());
        return;
    };
    for path in entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        let found = diffusers::open(&path).unwrap();
        let tensors = found.tensors().unwrap();
        tensors.iter().for_each(|(_, tensor)| assert_eq!(tensor.to_f32().unwrap().len(), tensor.len()));
        assert!(tensors.contains("conv_in.weight"), "{}", path.display());
        assert!(!matches!(found.scheduler, None | Some(SchedulerConfig::Other { .. })), "{}", path.display());
        let bin = found.weights.with_extension("bin");
        if bin.is_file() {
            let same = checkpoint::torch::open(bin).unwrap().model;
            assert_eq!(same.len(), tensors.len());
            same.iter()
                .for_each(|(name, tensor)| super::assert_same(tensor, tensors.get(name).unwrap(), name));
        }
    }
}
