//! Folders as Hugging Face diffusers writes them: `config.json` with the weights, at the top or under `unet/`; `scheduler_config.json`,
//! at the top or under `scheduler/`; `model_index.json`.
//!
//! Keys that are not known here are skipped, since every version of diffusers adds some; a key that is missing has the default of
//! `UNet2DModel` or of its scheduler in diffusers 0.42. What a config means for a network is not this module's matter.

#[cfg(feature = "files")]
mod write;

#[cfg(feature = "files")]
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

#[cfg(feature = "files")]
use crate::checkpoint::{safetensors, tensors::Tensors, torch};
use crate::limits::{CORRECTOR_STEPS, SCHEDULE_STEPS};
#[cfg(feature = "files")]
use crate::{Error, Result, files};

/// In order of preference.
#[cfg(feature = "files")]
const WEIGHTS: [&str; 4] = [
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.bin",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.fp16.bin",
];

/// A folder whose configs have been read.
#[cfg(feature = "files")]
#[derive(Debug, Clone)]
pub struct DiffusersFolder {
    /// The folder.
    pub path: PathBuf,
    /// The network's config.
    pub unet: UNetConfig,
    /// The scheduler's config, where there is one.
    pub scheduler: Option<SchedulerConfig>,
    /// Name of the pipeline (`ScoreSdeVePipeline`, `DDPMPipeline`), where `model_index.json` gives it.
    pub pipeline: Option<String>,
    /// The file with the weights.
    pub weights: PathBuf,
}

/// `config.json` of a `UNet2DModel`; names and meaning are diffusers' own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of diffusers, documented there")]
pub struct UNetConfig {
    #[serde(rename = "_class_name")]
    pub class_name: String,
    pub sample_size: Option<SampleSize>,
    pub in_channels: usize,
    pub out_channels: usize,
    pub center_input_sample: bool,
    pub time_embedding_type: String,
    pub time_embedding_dim: Option<usize>,
    pub freq_shift: f64,
    pub flip_sin_to_cos: bool,
    pub down_block_types: Vec<String>,
    pub mid_block_type: Option<String>,
    pub up_block_types: Vec<String>,
    pub block_out_channels: Vec<usize>,
    pub layers_per_block: usize,
    pub mid_block_scale_factor: f64,
    pub downsample_padding: usize,
    pub downsample_type: String,
    pub upsample_type: String,
    pub dropout: f64,
    pub act_fn: String,
    /// Missing is 8; null is one head.
    pub attention_head_dim: Option<usize>,
    /// Missing is 32; null is a quarter of the channels, at most 32.
    pub norm_num_groups: Option<usize>,
    pub attn_norm_num_groups: Option<usize>,
    pub norm_eps: f64,
    pub resnet_time_scale_shift: String,
    pub add_attention: bool,
    pub class_embed_type: Option<String>,
    pub num_class_embeds: Option<usize>,
    pub num_train_timesteps: Option<usize>,
}

/// Side of the images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SampleSize {
    /// Squares.
    Square(usize),
    /// Height and width.
    Sides([usize; 2]),
}

impl Default for UNetConfig {
    fn default() -> Self {
        let names = |names: [&str; 4]| names.map(String::from).to_vec();
        Self {
            class_name: "UNet2DModel".into(),
            sample_size: None,
            in_channels: 3,
            out_channels: 3,
            center_input_sample: false,
            time_embedding_type: "positional".into(),
            time_embedding_dim: None,
            freq_shift: 0.0,
            flip_sin_to_cos: true,
            down_block_types: names(["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"]),
            mid_block_type: Some("UNetMidBlock2D".into()),
            up_block_types: names(["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"]),
            block_out_channels: vec![224, 448, 672, 896],
            layers_per_block: 2,
            mid_block_scale_factor: 1.0,
            downsample_padding: 1,
            downsample_type: "conv".into(),
            upsample_type: "conv".into(),
            dropout: 0.0,
            act_fn: "silu".into(),
            attention_head_dim: Some(8),
            norm_num_groups: Some(32),
            attn_norm_num_groups: None,
            norm_eps: 1e-5,
            resnet_time_scale_shift: "default".into(),
            add_attention: true,
            class_embed_type: None,
            num_class_embeds: None,
            num_train_timesteps: None,
        }
    }
}

/// `scheduler_config.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "_class_name")]
pub enum SchedulerConfig {
    /// DDPM.
    #[serde(rename = "DDPMScheduler")]
    Ddpm(DdpmConfig),
    /// DDIM.
    #[serde(rename = "DDIMScheduler")]
    Ddim(DdimConfig),
    /// Predictor-corrector on the variance exploding SDE.
    #[serde(rename = "ScoreSdeVeScheduler")]
    ScoreSdeVe(ScoreSdeVeConfig),
    /// Any other: the module `sampling` knows which of them are computed. The weights can be used all the same.
    #[serde(untagged)]
    Other {
        /// Its class.
        #[serde(rename = "_class_name")]
        class_name: String,
        /// Its keys, as the file has them.
        #[serde(flatten)]
        config: Map<String, Value>,
    },
}

/// Config of a `DDPMScheduler`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of diffusers, documented there")]
pub struct DdpmConfig {
    pub num_train_timesteps: usize,
    pub beta_start: f64,
    pub beta_end: f64,
    pub beta_schedule: String,
    pub trained_betas: Option<Vec<f64>>,
    pub variance_type: String,
    pub clip_sample: bool,
    pub clip_sample_range: f64,
    pub prediction_type: String,
    pub thresholding: bool,
    pub dynamic_thresholding_ratio: f64,
    pub sample_max_value: f64,
    pub timestep_spacing: String,
    pub steps_offset: usize,
    pub rescale_betas_zero_snr: bool,
}

impl Default for DdpmConfig {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_start: 0.0001,
            beta_end: 0.02,
            beta_schedule: "linear".into(),
            trained_betas: None,
            variance_type: "fixed_small".into(),
            clip_sample: true,
            clip_sample_range: 1.0,
            prediction_type: "epsilon".into(),
            thresholding: false,
            dynamic_thresholding_ratio: 0.995,
            sample_max_value: 1.0,
            timestep_spacing: "leading".into(),
            steps_offset: 0,
            rescale_betas_zero_snr: false,
        }
    }
}

/// Config of a `DDIMScheduler`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of diffusers, documented there")]
pub struct DdimConfig {
    pub num_train_timesteps: usize,
    pub beta_start: f64,
    pub beta_end: f64,
    pub beta_schedule: String,
    pub trained_betas: Option<Vec<f64>>,
    pub clip_sample: bool,
    pub clip_sample_range: f64,
    pub set_alpha_to_one: bool,
    pub prediction_type: String,
    pub thresholding: bool,
    pub dynamic_thresholding_ratio: f64,
    pub sample_max_value: f64,
    pub timestep_spacing: String,
    pub steps_offset: usize,
    pub rescale_betas_zero_snr: bool,
}

impl Default for DdimConfig {
    fn default() -> Self {
        let ddpm = DdpmConfig::default();
        Self {
            num_train_timesteps: ddpm.num_train_timesteps,
            beta_start: ddpm.beta_start,
            beta_end: ddpm.beta_end,
            beta_schedule: ddpm.beta_schedule,
            trained_betas: None,
            clip_sample: true,
            clip_sample_range: 1.0,
            set_alpha_to_one: true,
            prediction_type: ddpm.prediction_type,
            thresholding: false,
            dynamic_thresholding_ratio: ddpm.dynamic_thresholding_ratio,
            sample_max_value: ddpm.sample_max_value,
            timestep_spacing: ddpm.timestep_spacing,
            steps_offset: 0,
            rescale_betas_zero_snr: false,
        }
    }
}

/// Config of a `ScoreSdeVeScheduler`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of diffusers, documented there")]
pub struct ScoreSdeVeConfig {
    pub num_train_timesteps: usize,
    pub snr: f64,
    pub sigma_min: f64,
    pub sigma_max: f64,
    pub sampling_eps: f64,
    pub correct_steps: usize,
}

impl Default for ScoreSdeVeConfig {
    fn default() -> Self {
        Self {
            num_train_timesteps: 2000,
            snr: 0.15,
            sigma_min: 0.01,
            sigma_max: 1348.0,
            sampling_eps: 1e-5,
            correct_steps: 1,
        }
    }
}

/// What is wanted of any config before its class is known.
#[derive(Deserialize)]
struct Class {
    #[serde(rename = "_class_name")]
    name: Option<String>,
}

#[cfg(feature = "files")]
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    object(&files::read_text(path)?).map_err(|error| Error::format(path, error.to_string()))
}

/// A JSON object as a config. A list would be one too for serde, with every key that it does not reach at its default.
fn object<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_value(keys(text)?.into())
}

/// The keys of a JSON object. Python writes infinities and NaN as words, which JSON has not: they count as no value.
fn keys(text: &str) -> Result<Map<String, Value>, serde_json::Error> {
    let mut plain = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if !in_string
            && let Some(word) = ["-Infinity", "Infinity", "NaN"].iter().find(|w| rest.starts_with(**w))
        {
            plain += "null";
            rest = &rest[word.len()..];
            continue;
        }
        in_string ^= c == '"' && !escaped;
        escaped = in_string && c == '\\' && !escaped;
        plain.push(c);
        rest = &rest[c.len_utf8()..];
    }
    serde_json::from_str(&plain)
}

/// The folder with `config.json`, none where this is no diffusers folder.
#[cfg(feature = "files")]
fn unet_folder(path: &Path) -> Option<PathBuf> {
    [path.to_path_buf(), path.join("unet")].into_iter().find(|folder| folder.join("config.json").is_file())
}

/// Whether a folder looks like one of diffusers.
#[cfg(feature = "files")]
pub(super) fn is_diffusers(path: &Path) -> bool {
    unet_folder(path).is_some()
}

/// Reads the configs and finds the weights. Errors: [`Error::Format`] with the file that is missing or wrong; [`Error::Io`].
#[cfg(feature = "files")]
pub fn open(path: impl AsRef<Path>) -> Result<DiffusersFolder> {
    let path = path.as_ref();
    let folder = unet_folder(path).ok_or_else(|| {
        Error::format(path, "neither config.json nor unet/config.json is there; it is no diffusers folder")
    })?;
    let config = folder.join("config.json");
    let unet: UNetConfig = read_json(&config)?;
    // The older name is that of the first releases.
    if !matches!(unet.class_name.as_str(), "UNet2DModel" | "UNetUnconditionalModel") {
        return Err(Error::format(
            config,
            format!("it describes a {:?}; only UNet2DModel is read", unet.class_name),
        ));
    }
    let scheduler = [path.join("scheduler_config.json"), path.join("scheduler/scheduler_config.json")];
    let scheduler =
        scheduler.into_iter().find(|file| file.is_file()).map(|file| read_scheduler(&file)).transpose()?;
    let index = path.join("model_index.json");
    let pipeline = if index.is_file() { read_json::<Class>(&index)?.name } else { None };
    let weights = WEIGHTS.map(|name| folder.join(name)).into_iter().find(|file| file.is_file());
    let weights = weights.ok_or_else(|| {
        let sharded = folder.join("diffusion_pytorch_model.safetensors.index.json").is_file();
        let what = if sharded {
            "the weights are in several files, which is not read; save them as one"
        } else {
            "there are no weights"
        };
        Error::format(&folder, format!("{what}; {} is looked for, or .bin", WEIGHTS[0]))
    })?;
    Ok(DiffusersFolder { path: path.into(), unet, scheduler, pipeline, weights })
}

#[cfg(feature = "files")]
fn read_scheduler(path: &Path) -> Result<SchedulerConfig> {
    SchedulerConfig::from_json(&files::read_text(path)?)
        .map_err(|error| Error::format(path, error.to_string()))
}

impl SchedulerConfig {
    /// Reads the text of a `scheduler_config.json`; a class that is not known here is [`SchedulerConfig::Other`].
    ///
    /// # Errors
    /// Those of JSON, a key of another type than its class gives it, and a count that no schedule has.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        let class: Class = object(text)?;
        let scheduler = match class.name.as_deref() {
            Some("DDPMScheduler") => Self::Ddpm(object(text)?),
            Some("DDIMScheduler") => Self::Ddim(object(text)?),
            Some("ScoreSdeVeScheduler") => Self::ScoreSdeVe(object(text)?),
            name => {
                let mut config = keys(text)?;
                config.shift_remove("_class_name");
                Self::Other { class_name: name.unwrap_or("unknown").into(), config }
            }
        };
        scheduler.check().map_err(serde::de::Error::custom)?;
        Ok(scheduler)
    }

    /// Tables and loops are as long as these counts.
    fn check(&self) -> Result<(), String> {
        let (steps, others) = match self {
            Self::Ddpm(c) => (c.num_train_timesteps, [("steps_offset", c.steps_offset, SCHEDULE_STEPS)]),
            Self::Ddim(c) => (c.num_train_timesteps, [("steps_offset", c.steps_offset, SCHEDULE_STEPS)]),
            Self::ScoreSdeVe(c) => {
                (c.num_train_timesteps, [("correct_steps", c.correct_steps, CORRECTOR_STEPS)])
            }
            Self::Other { config, .. } => {
                let Some(steps) = config.get("num_train_timesteps") else { return Ok(()) };
                let steps = steps.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
                (steps, [("steps_offset", 0, SCHEDULE_STEPS)])
            }
        };
        if !(1..=SCHEDULE_STEPS).contains(&steps) {
            return Err(format!(
                "num_train_timesteps = {steps}: a whole number from 1 to {SCHEDULE_STEPS} is expected"
            ));
        }
        match others.into_iter().find(|(_, value, most)| value > most) {
            Some((key, value, most)) => Err(format!("{key} = {value}: at most {most} is expected")),
            None => Ok(()),
        }
    }
}

impl UNetConfig {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// Those of JSON, and a key of another type than diffusers gives it.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        object(text)
    }
}

#[cfg(feature = "files")]
impl DiffusersFolder {
    /// Opens the weights, under diffusers' names. Errors: [`Error::Io`], [`Error::Format`].
    pub fn tensors(&self) -> Result<Tensors> {
        if self.weights.extension().is_some_and(|extension| extension == "bin") {
            Ok(torch::open(&self.weights)?.model)
        } else {
            Ok(safetensors::open(&self.weights)?.tensors)
        }
    }
}
