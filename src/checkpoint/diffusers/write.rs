//! A model of ours as a folder that diffusers opens: `DDPMPipeline.from_pretrained(folder)`, or `ScoreSdeVePipeline`.
//!
//! `UNet2DModel` has the authors' DDPM, and NCSN++ with both image pyramids, as trained on LSUN, CelebA-HQ and FFHQ. What it has not is
//! refused by the key that asks for it.

use std::path::Path;

use serde::Serialize;
use serde_json::json;

use super::{DdpmConfig, SampleSize, SchedulerConfig, ScoreSdeVeConfig, UNetConfig};
use crate::checkpoint::files::{OsFiles, replace, stage};
use crate::checkpoint::model::{SavedModel, Which};
use crate::checkpoint::tensors::{Tensor, Tensors};
use crate::checkpoint::{safetensors, unet2d};
use crate::error::{Error, Result};
use crate::models::config::{Corrector, Sde};
use crate::models::unet::{Embedding, Unet, UnetSpec};
use crate::models::{Config, Network};
use crate::nn::layers::Groups;
use crate::nn::resample::Resample;
use crate::ops::activation::Activation;

/// Labels of a network of continuous time: it is told t·999.
const LABELS: usize = 1000;
/// Channels of images in Skip blocks, where the library has the number in its source.
const SKIP_CHANNELS: usize = 3;

impl SavedModel {
    /// Writes the model as a folder of diffusers: `model_index.json`, `unet/config.json` with
    /// `unet/diffusion_pytorch_model.safetensors` under current names, `scheduler/scheduler_config.json`. The folder is made where there
    /// is none; files of these names are replaced.
    ///
    /// A VE model goes with `ScoreSdeVeScheduler`, a VP model with `DDPMScheduler`. `UNet2DModel` puts attention behind every block of a
    /// level on the way up where the authors' DDPM has it behind the last alone; the others are written with a last layer of zeros, which
    /// makes them the identity.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the key where diffusers has no such network, scheduler or data range; [`Error::Io`],
    /// [`Error::StorageFull`]; what reading the weights says.
    pub fn save_diffusers(&self, folder: impl AsRef<Path>, which: Which) -> Result<()> {
        let folder = folder.as_ref();
        let (pipeline, scheduler) = scheduler(&self.config)?;
        let unet = Unet::new(UnetSpec::new(&self.config)?)?;
        let config = unet_config(unet.spec())?;
        check_same(&unet, &config)?;
        if self.network.manifest().params() != unet.manifest().params() {
            return refuse("model", &self.name, "its network is another than its configuration describes");
        }
        let tensors = tensors(&unet, self.tensors(which), folder)?;
        let class = match &scheduler {
            SchedulerConfig::ScoreSdeVe(_) => "ScoreSdeVeScheduler",
            _ => "DDPMScheduler",
        };
        let index = json!({
            "_class_name": pipeline,
            "scheduler": ["diffusers", class],
            "unet": ["diffusers", "UNet2DModel"],
        });
        for part in ["unet", "scheduler"] {
            let path = folder.join(part);
            std::fs::create_dir_all(&path).map_err(Error::io(&path))?;
        }
        let metadata = [("format".to_owned(), "pt".to_owned())];
        safetensors::save(folder.join("unet/diffusion_pytorch_model.safetensors"), &metadata, &tensors)?;
        write_json(&folder.join("unet/config.json"), &config)?;
        write_json(&folder.join("scheduler/scheduler_config.json"), &scheduler)?;
        write_json(&folder.join("model_index.json"), &index)
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::format(path, e.to_string()))? + "\n";
    let staged = stage(&OsFiles, path, text.len() as u64, |out| {
        out.write_all(text.as_bytes()).map_err(Error::io(path))
    })?;
    replace(&OsFiles, staged, path)
}

fn refuse<T>(key: &str, value: impl ToString, problem: &str) -> Result<T> {
    Err(Error::invalid(key, value, problem))
}

/// The pipeline and the scheduler that sample what a configuration trains.
fn scheduler(config: &Config) -> Result<(&'static str, SchedulerConfig)> {
    let (model, training, sampling) = (&config.model, &config.training, &config.sampling);
    match training.sde {
        Sde::Ve if !model.takes_sigma() || !training.continuous => refuse(
            "model.embedding_type",
            model.embedding_type,
            "ScoreSdeVeScheduler gives the network sigma, not a label",
        ),
        Sde::Custom => {
            refuse("training.sde", training.sde, "diffusers has no scheduler for an SDE of another program")
        }
        Sde::Ve if config.data.centered => {
            refuse("data.centered", true, "ScoreSdeVePipeline takes what it has drawn for images of [0, 1]")
        }
        Sde::Ve => {
            let corrects = sampling.corrector != Corrector::None;
            let scheduler = ScoreSdeVeConfig {
                num_train_timesteps: model.num_scales,
                snr: sampling.snr,
                sigma_min: model.sigma_min,
                sigma_max: model.sigma_max,
                correct_steps: if corrects { sampling.n_steps_each } else { 0 },
                ..ScoreSdeVeConfig::default()
            };
            Ok(("ScoreSdeVePipeline", SchedulerConfig::ScoreSdeVe(scheduler)))
        }
        Sde::Vp if model.takes_sigma() => refuse(
            "model.embedding_type",
            model.embedding_type,
            "DDPMScheduler gives the network a label, not sigma",
        ),
        Sde::Vp if !config.data.centered => {
            refuse("data.centered", false, "DDPMPipeline takes what it has drawn for images of [-1, 1]")
        }
        Sde::Vp => {
            let n = if training.continuous { LABELS } else { model.num_scales };
            let scheduler = DdpmConfig {
                num_train_timesteps: n,
                beta_start: model.beta_min / n as f64,
                beta_end: model.beta_max / n as f64,
                // The variance of the authors' ancestral sampling.
                variance_type: "fixed_large".into(),
                ..DdpmConfig::default()
            };
            Ok(("DDPMPipeline", SchedulerConfig::Ddpm(scheduler)))
        }
        Sde::SubVp => refuse("training.sde", training.sde, "diffusers has no scheduler for it"),
    }
}

/// The `config.json` that comes nearest to a U-Net; [`check_same`] says whether it is the same.
fn unet_config(spec: &UnetSpec) -> Result<UNetConfig> {
    let skip = spec.biggan;
    let name = |attention: bool, way: &str| {
        let (attention, skip) = (if attention { "Attn" } else { "" }, if skip { "Skip" } else { "" });
        format!("{attention}{skip}{way}Block2D")
    };
    let (embedding, cos_first, shift) = match spec.embedding {
        Embedding::Fourier { .. } => ("fourier", true, 0.0),
        Embedding::Positional { cos_first, shift } => ("positional", cos_first, shift),
    };
    let activation = match spec.style.activation {
        Activation::Silu => "silu",
        Activation::Relu => "relu",
        other => return refuse("model.nonlinearity", format!("{other:?}"), "UNet2DModel has swish"),
    };
    Ok(UNetConfig {
        sample_size: Some(SampleSize::Square(spec.image_size)),
        in_channels: spec.num_channels,
        out_channels: spec.num_channels,
        center_input_sample: !spec.centered,
        time_embedding_type: embedding.into(),
        freq_shift: shift,
        flip_sin_to_cos: cos_first,
        down_block_types: spec.attention_down.iter().map(|&a| name(a, "Down")).collect(),
        up_block_types: spec.attention_up.iter().rev().map(|&a| name(a, "Up")).collect(),
        block_out_channels: spec.level_channels.clone(),
        layers_per_block: spec.num_res_blocks,
        mid_block_scale_factor: 1.0 / spec.mid_output_scale,
        downsample_padding: if spec.downsample_padding == Resample::PADDING { 0 } else { 1 },
        dropout: spec.style.dropout,
        act_fn: activation.into(),
        attention_head_dim: None,
        norm_num_groups: match spec.groups.mid {
            Groups::Quarter => None,
            Groups::Fixed(groups) => Some(groups),
        },
        norm_eps: spec.style.norm_eps,
        ..UNetConfig::default()
    })
}

/// An error with the first key of a network by which the network that `config` describes is another one.
fn check_same(unet: &Unet, config: &UNetConfig) -> Result<()> {
    let ours = unet.spec();
    if ours.biggan && ours.num_channels != SKIP_CHANNELS {
        return refuse(
            "data.num_channels",
            ours.num_channels,
            "the Skip blocks of UNet2DModel take images of 3 channels",
        );
    }
    if !ours.biggan && ours.groups.blocks == Groups::Quarter {
        let problem = "UNet2DModel has the blocks of ddpm, and those of biggan with both pyramids";
        return refuse("model.resblock_type", "ddpm in ncsnpp", problem);
    }
    let theirs = unet2d::spec(config)?;
    for (key, [ours, theirs]) in
        features(ours).into_iter().zip(features(&theirs)).map(|(a, b)| (a.0, [a.1, b.1]))
    {
        if ours != theirs {
            return refuse(
                key,
                ours,
                &format!("UNet2DModel computes {theirs} in such a network, and nothing else"),
            );
        }
    }
    // The library counts the groups of some norms in another way, which comes to the same at 128 channels and above.
    if ours.biggan && unet.group_counts() != Unet::new(theirs)?.group_counts() {
        let problem = "UNet2DModel has other groups in its norms here: with attention, levels need at least 128 channels";
        return refuse("model.nf", ours.nf, problem);
    }
    Ok(())
}

/// What makes a network what it computes, by key; without groups and the place of attention on the way up.
fn features(spec: &UnetSpec) -> Vec<(&'static str, String)> {
    let factors = [spec.style.output_scale, spec.mid_output_scale];
    vec![
        ("data.image_size", format!("{}", spec.image_size)),
        ("model.ch_mult", format!("{:?}", spec.level_channels)),
        ("model.attn_resolutions", format!("{:?}", [&spec.attention_down, &spec.attention_up])),
        ("model.num_res_blocks", format!("{}", spec.num_res_blocks)),
        ("model.embedding_type", format!("{:?}", spec.embedding)),
        ("model.scale_by_sigma", format!("{}", spec.scale_by_sigma)),
        ("model.conditional", format!("{}", spec.conditional)),
        ("model.resblock_type", (if spec.biggan { "biggan" } else { "ddpm" }).to_owned()),
        ("model.progressive", format!("{:?}", spec.output_pyramid)),
        ("model.progressive_input", format!("{:?}", spec.input_pyramid)),
        ("model.fir", format!("{:?}", spec.filter)),
        ("model.resamp_with_conv", format!("{}", spec.resamp_with_conv)),
        ("model.skip_rescale", format!("{factors:.9?}")),
        ("model.nonlinearity", format!("{:?}", [spec.style.activation, spec.outer_activation])),
        ("data.centered", format!("{}", spec.centered)),
    ]
}

/// The weights under diffusers' names and in its layouts.
fn tensors(unet: &Unet, ours: &Tensors, origin: &Path) -> Result<Tensors> {
    let mut tensors = Tensors::new(origin);
    for (param, file) in unet.manifest().params().iter().zip(unet2d::file_tensors(unet)?) {
        let data = ours.require(&param.name, &param.shape)?.to_f32()?;
        let data = match (file.transposed, &param.shape[..]) {
            (true, &[c_in, c_out]) => unet2d::transpose(&data, c_in, c_out),
            _ => data,
        };
        tensors.insert(file.name, Tensor::from_f32(&file.shape, data)?)?;
    }
    let spec = unet.spec();
    if !spec.biggan && !spec.attention_after_every_up_block {
        let levels = spec.level_channels.iter().zip(&spec.attention_up).rev().enumerate();
        for (at, (&channels, _)) in levels.filter(|(_, (_, attention))| **attention) {
            for block in 0..spec.num_res_blocks {
                let layer = format!("up_blocks.{at}.attentions.{block}");
                identity_attention(&mut tensors, &layer, channels)?;
            }
        }
    }
    Ok(tensors)
}

/// An attention that adds nothing to its input.
fn identity_attention(tensors: &mut Tensors, layer: &str, channels: usize) -> Result<()> {
    let mut put = |name: &str, shape: &[usize], value: f32| {
        let data = vec![value; shape.iter().product()];
        tensors.insert(format!("{layer}.{name}"), Tensor::from_f32(shape, data)?)
    };
    put("group_norm.weight", &[channels], 1.0)?;
    put("group_norm.bias", &[channels], 0.0)?;
    for projection in ["to_q", "to_k", "to_v", "to_out.0"] {
        put(&format!("{projection}.weight"), &[channels, channels], 0.0)?;
        put(&format!("{projection}.bias"), &[channels], 0.0)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::diffusers;
    use crate::gpu::{Gpu, Options};
    use crate::graph::{Draft, DraftOptions, Graph};
    use crate::models::{self, Weights, presets};
    use crate::nn::trace::{Trace, WEIGHTS};
    use crate::random::Stream;

    fn config(preset: &str, changes: &[(&str, &str)]) -> Config {
        let mut config = presets::get(preset).unwrap();
        for (key, value) in changes {
            config.set(key, value).unwrap();
        }
        config.validate().unwrap();
        config
    }

    /// A model of random weights, none of them zero, by way of a file.
    fn model(config: &Config, folder: &Path) -> SavedModel {
        let network = models::build(config).unwrap();
        let mut tensors = Tensors::new("random");
        for (i, param) in network.manifest().params().iter().enumerate() {
            let mut stream = Stream::new(7, 1, i as u32);
            let inner = param.shape.iter().skip(1).product::<usize>().max(1) as f64;
            let size = if param.shape.len() > 1 { inner.powf(-0.5) } else { 1.0 };
            let data: Vec<f32> = (0..param.shape.iter().product())
                .map(|_| ((stream.uniform() * 2.0 - 0.8) * size) as f32)
                .collect();
            tensors.insert(param.name.as_str(), Tensor::from_f32(&param.shape, data).unwrap()).unwrap();
        }
        let path = folder.join("model.safetensors");
        safetensors::save(&path, &[("config".into(), config.to_toml())], &tensors).unwrap();
        SavedModel::open(&path, None).unwrap()
    }

    fn pixels(side: usize) -> Vec<f32> {
        (0..side * side * 3).map(|i| (i as f32 * 0.37).sin()).collect()
    }

    /// The output at a fixed image and time.
    fn output(gpu: &Gpu, network: &dyn Network, weights: &Weights, side: usize, time: f32) -> Vec<f32> {
        let mut graph = Graph::new();
        let (x, t) = (graph.input("x", [1, side, side, 3]), graph.input("t", [1]));
        let y = network.forward(&mut Trace::new(&mut graph, WEIGHTS), x, t).unwrap();
        let draft = Draft::new(&graph, &[y], gpu.capabilities(), DraftOptions::default()).unwrap();
        let mut plan = draft.build(gpu, weights.resources()).unwrap();
        plan.write(x, &pixels(side)).unwrap();
        plan.write(t, &[time]).unwrap();
        plan.run().unwrap();
        plan.read(y).unwrap()
    }

    #[test]
    fn what_is_written_reads_back_as_the_same_function() {
        let gpu = Gpu::open(&Options::default()).unwrap();
        let ddpm = [
            ("data.image_size", "8"),
            ("model.nf", "32"),
            ("model.ch_mult", "[1, 2]"),
            ("model.num_res_blocks", "2"),
            ("model.attn_resolutions", "[4]"),
        ];
        let ncsnpp = [
            ("data.image_size", "8"),
            ("model.nf", "128"),
            ("model.ch_mult", "[1, 1]"),
            ("model.num_res_blocks", "1"),
            ("model.attn_resolutions", "[4]"),
        ];
        let narrow = [
            ("data.image_size", "8"),
            ("model.nf", "16"),
            ("model.ch_mult", "[1, 2, 2]"),
            ("model.num_res_blocks", "1"),
            ("model.attn_resolutions", "[]"),
        ];
        for (preset, changes, time, pipeline) in [
            ("vp/ddpm/church", &ddpm, 637.0, "DDPMPipeline"),
            ("ve/church_ncsnpp_continuous", &ncsnpp, 1.7, "ScoreSdeVePipeline"),
            ("ve/ffhq_256_ncsnpp_continuous", &narrow, 0.4, "ScoreSdeVePipeline"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let config = config(preset, changes);
            let saved = model(&config, folder.path());
            // tools/check_diffusers.py looks at what is left there with diffusers itself.
            let kept = std::env::var_os("LANGEVIN_DIFFUSERS_OUT");
            let out = kept.as_deref().map_or(folder.path(), Path::new).join(preset.replace('/', "-"));
            saved.save_diffusers(&out, Which::Ema).unwrap();
            let read = diffusers::open(&out).unwrap();
            assert_eq!(read.pipeline.as_deref(), Some(pipeline));
            let unet = Unet::new(unet2d::spec(&read.unet).unwrap()).unwrap();
            let weights = Weights::zeros(&gpu, unet.manifest()).unwrap();
            let tensors = read.tensors().unwrap();
            assert_eq!(tensors.len(), unet.manifest().params().len(), "{preset}");
            unet2d::read(&unet, &tensors, |name, data| weights.write(name, data)).unwrap();
            let theirs = output(&gpu, &unet, &weights, 8, time);
            let uploaded = saved.upload(&gpu, Which::Ema).unwrap();
            let ours = output(&gpu, saved.network.as_ref(), &uploaded, 8, time);
            let largest = ours.iter().fold(0.0f32, |a, v| a.max(v.abs()));
            assert!(largest > 1e-3, "{preset}: {largest}");
            for (a, b) in ours.iter().zip(&theirs) {
                assert!((a - b).abs() <= 1e-5 * largest, "{preset}: {a} {b}");
            }
            if kept.is_some() {
                let mut check = Tensors::new("check");
                let image = [1, 8, 8, 3];
                check.insert("x", Tensor::from_f32(&image, pixels(8)).unwrap()).unwrap();
                check.insert("timestep", Tensor::from_f32(&[1], vec![time]).unwrap()).unwrap();
                check.insert("y", Tensor::from_f32(&image, ours).unwrap()).unwrap();
                safetensors::save(out.join("check.safetensors"), &[], &check).unwrap();
            }
        }
    }

    #[test]
    fn schedulers_carry_the_sde() {
        let (_, vp) = scheduler(&config("vp/ddpm/cifar10", &[])).unwrap();
        let SchedulerConfig::Ddpm(vp) = vp else { panic!("{vp:?}") };
        assert!((vp.beta_start - 1e-4).abs() < 1e-12 && (vp.beta_end - 0.02).abs() < 1e-12);
        assert_eq!((vp.num_train_timesteps, vp.variance_type.as_str()), (1000, "fixed_large"));
        let (_, ve) = scheduler(&config("ve/church_ncsnpp_continuous", &[])).unwrap();
        let SchedulerConfig::ScoreSdeVe(ve) = ve else { panic!("{ve:?}") };
        assert_eq!((ve.sigma_max, ve.snr, ve.correct_steps, ve.num_train_timesteps), (380.0, 0.075, 1, 2000));
    }

    #[test]
    fn what_diffusers_has_not_is_refused_by_its_key() {
        let church = "ve/church_ncsnpp_continuous";
        for (preset, changes, key) in [
            (church, &[("model.nf", "32")][..], "model.nf"),
            (church, &[("model.progressive", "none")], "model.progressive"),
            (church, &[("model.progressive_combine", "cat")], "model.progressive_input"),
            (church, &[("model.fir_kernel", "[1, 2, 1]")], "model.fir"),
            (church, &[("model.skip_rescale", "false")], "model.skip_rescale"),
            (church, &[("model.scale_by_sigma", "false")], "model.scale_by_sigma"),
            (church, &[("data.num_channels", "1")], "data.num_channels"),
            (church, &[("data.centered", "true")], "data.centered"),
            ("ve/cifar10_ncsnpp_continuous", &[], "model.progressive"),
            ("ve/cifar10_ncsnpp", &[], "model.embedding_type"),
            ("vp/cifar10_ddpmpp_continuous", &[], "model."),
            ("vp/cifar10_ncsnpp_continuous", &[], "model."),
            ("subvp/cifar10_ddpm_continuous", &[], "training.sde"),
            ("vp/ddpm/cifar10_unconditional", &[], "model.conditional"),
            ("ve/ncsnv2/cifar10", &[], "model."),
        ] {
            let config = config(preset, changes);
            let refused = scheduler(&config).and_then(|_| {
                let unet = Unet::new(UnetSpec::new(&config)?)?;
                check_same(&unet, &unet_config(unet.spec())?)
            });
            let error = refused.unwrap_err().to_string();
            assert!(error.starts_with(key), "{preset} {changes:?}: {error}");
        }
        for preset in ["vp/ddpm/church", "vp/ddpm/cifar10_continuous", "ve/ffhq_ncsnpp_continuous", church] {
            let config = config(preset, &[]);
            let unet = Unet::new(UnetSpec::new(&config).unwrap()).unwrap();
            scheduler(&config).unwrap();
            check_same(&unet, &unet_config(unet.spec()).unwrap()).unwrap();
        }
    }
}
