//! The noise-conditional WideResNet classifier (Song et al. 2021, appendix I; the authors' JAX code).

#![expect(dead_code, reason = "the layers are read where the forward pass is traced")]

use crate::error::{Error, Result};
use crate::models::Network;
use crate::models::config::{Config, ModelName};
use crate::nn::Init;
use crate::nn::layers::{Conv2d, GaussianFourierProjection, GroupNorm, Groups, Linear};
use crate::nn::manifest::Manifest;
use crate::nn::wide::{self, WideResnetBlock};

/// Fourier frequencies of the embedding.
const FOURIER_FEATURES: usize = 128;
/// Standard deviation of the frequencies.
const FOURIER_SCALE: f64 = 16.0;
/// Channels of the time embedding.
const TEMB_CHANNELS: usize = 512;
/// Channels of the first convolution, and of the groups before the multiplier.
const CHANNELS: [usize; 4] = [16, 16, 32, 64];

/// The network: the layers by name, and the list of its parameters.
#[derive(Clone, Debug)]
pub struct Classifier {
    manifest: Manifest,
    fourier: GaussianFourierProjection,
    time: [Linear; 2],
    conv_in: Conv2d,
    groups: Vec<Vec<WideResnetBlock>>,
    norm_out: GroupNorm,
    dense_out: Linear,
    /// Mean and standard deviation of each channel of the data.
    preprocess: (Vec<f64>, Vec<f64>),
}

impl Classifier {
    /// Constructs the layers.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the configuration names another architecture, [`Error::Shape`] when groups do not divide
    /// channels.
    pub fn new(config: &Config) -> Result<Self> {
        let model = &config.model;
        if model.name != ModelName::Wideresnet {
            let problem = format!("not the classifier: use {}", ModelName::Wideresnet);
            return Err(Error::invalid("model.name", model.name, problem));
        }
        let mut manifest = Manifest::default();
        let mut root = manifest.root();
        let fourier =
            GaussianFourierProjection::new(&mut root.at("time.fourier"), FOURIER_FEATURES, FOURIER_SCALE);
        let time = [
            wide::dense(&mut root.at("time.dense_0"), 2 * FOURIER_FEATURES, TEMB_CHANNELS),
            wide::dense(&mut root.at("time.dense_1"), TEMB_CHANNELS, TEMB_CHANNELS),
        ];
        let conv_in = wide::conv3x3(&mut root.at("conv_in"), config.data.num_channels, CHANNELS[0], 1);
        let mut channels = CHANNELS[0];
        let mut groups = Vec::new();
        for (g, width) in CHANNELS[1..].iter().enumerate() {
            let c_out = width * model.channel_multiplier;
            let mut blocks = Vec::new();
            for b in 0..model.blocks_per_group {
                let mut scope = root.at(format_args!("group.{g}.block.{b}"));
                let stride = if g > 0 && b == 0 { 2 } else { 1 };
                let first = g == 0 && b == 0;
                blocks.push(WideResnetBlock::new(&mut scope, channels, c_out, stride, TEMB_CHANNELS, first)?);
                channels = c_out;
            }
            groups.push(blocks);
        }
        let norm_out = GroupNorm::new(&mut root.at("norm_out"), channels, Groups::Quarter, wide::NORM_EPS)?;
        let bound = 1.0 / (model.num_outputs as f64).sqrt();
        let dense_out = Linear::with_init(
            &mut root.at("dense_out"),
            channels,
            model.num_outputs,
            Init::Uniform { bound },
        );
        let preprocess = (model.preprocess_mean.clone(), model.preprocess_std.clone());
        Ok(Self { manifest, fourier, time, conv_in, groups, norm_out, dense_out, preprocess })
    }
}

impl Network for Classifier {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}
