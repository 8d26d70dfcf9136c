//! What a folder of diffusers is as a configuration of ours: its images, its SDE, and as much of its network as our keys can say.

use serde_json::{Map, Value};

use super::diffusers::{DdimConfig, DdpmConfig, SchedulerConfig, UNetConfig};
use super::unet2d;
use crate::error::{Error, Result};
use crate::models::Config;
use crate::models::config::{
    Corrector, EmbeddingType, Model, ModelName, Predictor, Progressive, ProgressiveInput, Sde,
};
use crate::models::unet::{Embedding, UnetSpec};

/// Labels of a network that was trained on continuous time run up to this, less one: t·999.
const LABELS: usize = 1000;

/// A configuration, and why its SDE is not that of the folder, where it is not.
#[derive(Debug)]
pub(super) struct Adopted {
    pub(super) config: Config,
    /// The folder's own scheduler samples all the same.
    pub(super) no_sde: Option<String>,
}

/// The chain of a DDPM or DDIM scheduler.
struct Chain<'a> {
    n: usize,
    beta_start: f64,
    beta_end: f64,
    schedule: &'a str,
    trained_betas: bool,
    rescaled: bool,
    prediction: &'a str,
}

impl<'a> From<&'a DdpmConfig> for Chain<'a> {
    fn from(c: &'a DdpmConfig) -> Self {
        Self {
            n: c.num_train_timesteps,
            beta_start: c.beta_start,
            beta_end: c.beta_end,
            schedule: &c.beta_schedule,
            trained_betas: c.trained_betas.is_some(),
            rescaled: c.rescale_betas_zero_snr,
            prediction: &c.prediction_type,
        }
    }
}

impl<'a> From<&'a DdimConfig> for Chain<'a> {
    fn from(c: &'a DdimConfig) -> Self {
        Self {
            n: c.num_train_timesteps,
            beta_start: c.beta_start,
            beta_end: c.beta_end,
            schedule: &c.beta_schedule,
            trained_betas: c.trained_betas.is_some(),
            rescaled: c.rescale_betas_zero_snr,
            prediction: &c.prediction_type,
        }
    }
}

impl<'a> Chain<'a> {
    /// Of the keys of a scheduler's class; what is missing has the default of most classes of diffusers, and Heun's of Heun.
    fn of(class_name: &str, keys: &'a Map<String, Value>) -> Self {
        let ddpm = match class_name {
            "HeunDiscreteScheduler" => [0.00085, 0.012],
            _ => [DdpmConfig::default().beta_start, DdpmConfig::default().beta_end],
        };
        let number = |key: &str, default: f64| keys.get(key).and_then(Value::as_f64).unwrap_or(default);
        let text = |key: &str, default: &'a str| keys.get(key).and_then(Value::as_str).unwrap_or(default);
        Self {
            n: keys.get("num_train_timesteps").and_then(Value::as_u64).unwrap_or(LABELS as u64) as usize,
            beta_start: number("beta_start", ddpm[0]),
            beta_end: number("beta_end", ddpm[1]),
            schedule: text("beta_schedule", "linear"),
            trained_betas: keys.get("trained_betas").is_some_and(|betas| !betas.is_null()),
            rescaled: keys.get("rescale_betas_zero_snr").and_then(Value::as_bool).unwrap_or(false),
            prediction: text("prediction_type", "epsilon"),
        }
    }
}

/// The configuration of a folder.
///
/// # Errors
/// [`Error::Invalid`] where the network is none that is computed here, or there is no scheduler.
pub(super) fn adopt(unet: &UNetConfig, scheduler: Option<&SchedulerConfig>) -> Result<Adopted> {
    let mut config = architecture(&unet2d::spec(unet)?);
    let mut no_sde = None;
    match scheduler {
        Some(SchedulerConfig::ScoreSdeVe(s)) => {
            config.training.sde = Sde::Ve;
            config.model.num_scales = s.num_train_timesteps;
            (config.model.sigma_min, config.model.sigma_max) = (s.sigma_min, s.sigma_max);
            config.sampling.predictor = Predictor::ReverseDiffusion;
            config.sampling.corrector =
                if s.correct_steps == 0 { Corrector::None } else { Corrector::Langevin };
            (config.sampling.n_steps_each, config.sampling.snr) = (s.correct_steps, s.snr);
            // Its pipeline makes images of [0, 1], that of the chains of [-1, 1].
            config.data.centered = false;
        }
        Some(SchedulerConfig::Ddpm(s)) => no_sde = vp(&mut config, &s.into()),
        Some(SchedulerConfig::Ddim(s)) => no_sde = vp(&mut config, &s.into()),
        Some(SchedulerConfig::Other { class_name, config: keys }) => {
            no_sde = vp(&mut config, &Chain::of(class_name, keys));
            if !["beta_start", "beta_schedule", "trained_betas"].iter().any(|key| keys.contains_key(*key)) {
                no_sde = Some(format!(
                    "its scheduler, {class_name}, names no chain of betas: it is sampled by its own scheduler alone"
                ));
            }
        }
        None => {
            let problem =
                "the folder has no scheduler_config.json; say its SDE and images by a configuration";
            return Err(Error::invalid("scheduler", "none", problem));
        }
    }
    config.validate()?;
    Ok(Adopted { config, no_sde })
}

/// The VP SDE whose discretisation the chain is; why there is none where there is none.
fn vp(config: &mut Config, chain: &Chain<'_>) -> Option<String> {
    let n = chain.n as f64;
    config.training.sde = Sde::Vp;
    config.training.continuous = chain.n == LABELS;
    config.model.num_scales = chain.n;
    config.data.centered = true;
    (config.sampling.predictor, config.sampling.corrector) = (Predictor::AncestralSampling, Corrector::None);
    let because = |key: &str, value: &str| {
        Some(format!(
            "its scheduler has {key} = {value}, which is the discretisation of no SDE here: it is sampled by its own scheduler alone"
        ))
    };
    match chain {
        Chain { trained_betas: true, .. } => return because("trained_betas", "[…]"),
        Chain { rescaled: true, .. } => return because("rescale_betas_zero_snr", "true"),
        Chain { schedule, .. } if *schedule != "linear" => return because("beta_schedule", schedule),
        Chain { prediction, .. } if *prediction != "epsilon" => {
            return because("prediction_type", prediction);
        }
        _ => {}
    }
    (config.model.beta_min, config.model.beta_max) = (chain.beta_start * n, chain.beta_end * n);
    None
}

/// The keys of the network; the defaults of one level where ours do not say what it is.
fn architecture(spec: &UnetSpec) -> Config {
    let fourier = matches!(spec.embedding, Embedding::Fourier { .. });
    let mut config = Config::of(if spec.biggan { ModelName::Ncsnpp } else { ModelName::Ddpm });
    (config.data.image_size, config.data.num_channels) = (spec.image_size, spec.num_channels);
    let model = &mut config.model;
    model.nf = spec.nf;
    model.ch_mult = spec.level_channels.iter().map(|c| c / spec.nf).collect();
    model.num_res_blocks = spec.num_res_blocks;
    let attention = spec.attention_down.iter().enumerate().filter(|(_, there)| **there);
    model.attn_resolutions = attention.map(|(level, _)| spec.image_size >> level).collect();
    model.dropout = spec.style.dropout;
    model.embedding_type = if fourier { EmbeddingType::Fourier } else { EmbeddingType::Positional };
    model.scale_by_sigma = spec.scale_by_sigma;
    if spec.biggan {
        model.progressive = Progressive::OutputSkip;
        model.progressive_input = ProgressiveInput::InputSkip;
    }
    let exact = spec.level_channels.iter().all(|c| c.is_multiple_of(spec.nf));
    if !exact || config.validate().is_err() {
        config.model = Model {
            ch_mult: vec![1],
            embedding_type: config.model.embedding_type,
            scale_by_sigma: config.model.scale_by_sigma,
            ..Model::of(ModelName::Ncsnpp)
        };
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_become_vp_and_the_others_say_why_not() {
        let unet = UNetConfig {
            sample_size: Some(crate::checkpoint::diffusers::SampleSize::Square(32)),
            block_out_channels: vec![128; 4],
            attention_head_dim: None,
            ..UNetConfig::default()
        };
        let ddpm = |change: fn(&mut DdpmConfig)| {
            let mut scheduler = DdpmConfig::default();
            change(&mut scheduler);
            adopt(&unet, Some(&SchedulerConfig::Ddpm(scheduler))).unwrap()
        };
        let plain = ddpm(|_| ());
        assert!(plain.no_sde.is_none() && plain.config.training.continuous && plain.config.data.centered);
        assert!((plain.config.model.beta_min - 0.1).abs() < 1e-12 && plain.config.model.beta_max == 20.0);
        assert_eq!((plain.config.model.nf, &plain.config.model.ch_mult[..]), (128, &[1, 1, 1, 1][..]));
        for (key, change) in [
            ("beta_schedule", (|c| c.beta_schedule = "sigmoid".into()) as fn(&mut DdpmConfig)),
            ("prediction_type", |c| c.prediction_type = "sample".into()),
            ("trained_betas", |c| c.trained_betas = Some(vec![0.5])),
        ] {
            assert!(ddpm(change).no_sde.unwrap().contains(key));
        }
        assert!(adopt(&unet, None).is_err());
        let other = |text: &str| adopt(&unet, Some(&SchedulerConfig::from_json(text).unwrap())).unwrap();
        let pndm = other(
            r#"{"_class_name": "PNDMScheduler", "beta_start": 0.0001, "beta_end": 0.02, "lambda": -Infinity}"#,
        );
        assert_eq!((pndm.no_sde, pndm.config.model.beta_max), (None, 20.0));
        let cosine =
            other(r#"{"_class_name": "DEISMultistepScheduler", "beta_schedule": "squaredcos_cap_v2"}"#);
        assert!(cosine.no_sde.unwrap().contains("squaredcos_cap_v2"));
        let edm = other(r#"{"_class_name": "EDMEulerScheduler", "sigma_min": 0.002}"#);
        assert!(edm.no_sde.unwrap().contains("EDMEulerScheduler"));
    }
}
