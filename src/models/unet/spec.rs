//! The U-Net of NCSN++, DDPM++ and DDPM, resolved from a configuration.

use crate::error::{Error, Result};
use crate::models::config::{self, Config, EmbeddingType, ModelName, ResblockType};
use crate::nn::layers::{GroupNorm, Groups};
use crate::nn::resample::{Filter, Merge};
use crate::nn::residual::{Activation, BlockStyle};

/// How the noise level enters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Embedding {
    /// Random Fourier features of ln sigma.
    Fourier {
        /// Standard deviation of the frequencies.
        scale: f64,
    },
    /// Sines and cosines of the label.
    Positional,
}

/// How the image is fed to coarser levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputPyramid {
    /// Not at all.
    None,
    /// Downsampled and merged by a 1x1 convolution.
    Skip(Merge),
    /// Downsampled with a convolution and added; the sum is the next pyramid.
    Residual,
}

/// How the output is grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputPyramid {
    /// By the finest level alone.
    None,
    /// Each level adds an image.
    Skip,
    /// Each level adds features.
    Residual,
}

/// A U-Net of the family, independent of who configured it.
#[derive(Clone, Debug)]
pub struct UnetSpec {
    /// Width and height of the images.
    pub image_size: usize,
    /// Channels of the images.
    pub num_channels: usize,
    /// Channels of the first features, and of the embedding.
    pub nf: usize,
    /// Channels of each level, finest first.
    pub level_channels: Vec<usize>,
    /// Whether each level's blocks are followed by attention.
    pub attention: Vec<bool>,
    /// On the way up, attention follows every block and not only the last.
    pub attention_after_every_up_block: bool,
    /// Blocks of a level on the way down.
    pub num_res_blocks: usize,
    /// How the noise level enters.
    pub embedding: Embedding,
    /// The blocks see the noise level.
    pub conditional: bool,
    /// Blocks resample inside; else a resampling stands between them.
    pub biggan: bool,
    /// The filter of resamplings.
    pub filter: Filter,
    /// Resamplings between blocks have a convolution.
    pub resamp_with_conv: bool,
    /// How the image is fed to coarser levels.
    pub input_pyramid: InputPyramid,
    /// How the output is grown.
    pub output_pyramid: OutputPyramid,
    /// What all blocks share.
    pub style: BlockStyle,
    /// The input is in [-1, 1] already.
    pub centered: bool,
    /// The output is divided by sigma.
    pub scale_by_sigma: bool,
    /// Sigma of each label, largest first: the table of a network with labels.
    pub sigmas: Vec<f64>,
}

impl UnetSpec {
    /// The U-Net of a configuration.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the configuration names another architecture.
    pub fn new(config: &Config) -> Result<Self> {
        let model = &config.model;
        let plus = match model.name {
            ModelName::Ncsnpp => true,
            ModelName::Ddpm => false,
            other => return Err(Error::invalid("model.name", other, "not a U-Net: use ncsnpp or ddpm")),
        };
        let output_scale = if plus && model.skip_rescale { std::f64::consts::FRAC_1_SQRT_2 } else { 1.0 };
        let style = BlockStyle {
            groups: if plus { Groups::Quarter } else { Groups::Fixed(32) },
            norm_eps: GroupNorm::EPS,
            activation: activation(model.nonlinearity),
            dropout: model.dropout,
            init_scale: if plus { model.init_scale } else { 0.0 },
            output_scale,
            // The authors' blocks own this layer even where nothing is conditional.
            temb_channels: Some(4 * model.nf),
        };
        let merge = match model.progressive_combine {
            config::ProgressiveCombine::Sum => Merge::Sum,
            config::ProgressiveCombine::Cat => Merge::Cat,
        };
        let input_pyramid = match model.progressive_input {
            config::ProgressiveInput::InputSkip if plus => InputPyramid::Skip(merge),
            config::ProgressiveInput::Residual if plus => InputPyramid::Residual,
            _ => InputPyramid::None,
        };
        let output_pyramid = match model.progressive {
            config::Progressive::OutputSkip if plus => OutputPyramid::Skip,
            config::Progressive::Residual if plus => OutputPyramid::Residual,
            _ => OutputPyramid::None,
        };
        let fourier = plus && model.embedding_type == EmbeddingType::Fourier;
        Ok(Self {
            image_size: config.data.image_size,
            num_channels: config.data.num_channels,
            nf: model.nf,
            level_channels: model.ch_mult.iter().map(|mult| model.nf * mult).collect(),
            attention: config.level_widths().iter().map(|w| model.attn_resolutions.contains(w)).collect(),
            attention_after_every_up_block: false,
            num_res_blocks: model.num_res_blocks,
            embedding: match fourier {
                true => Embedding::Fourier { scale: model.fourier_scale },
                false => Embedding::Positional,
            },
            conditional: model.conditional,
            biggan: plus && model.resblock_type == ResblockType::Biggan,
            filter: match plus && model.fir {
                true => Filter::Fir(model.fir_kernel.clone()),
                false => Filter::Naive,
            },
            resamp_with_conv: model.resamp_with_conv,
            input_pyramid,
            output_pyramid,
            style,
            centered: config.data.centered,
            scale_by_sigma: model.scale_by_sigma,
            sigmas: config.sigmas(),
        })
    }
}

/// The layer that a configuration names.
pub(crate) fn activation(name: config::Nonlinearity) -> Activation {
    match name {
        config::Nonlinearity::Swish => Activation::Swish,
        config::Nonlinearity::Elu => Activation::Elu,
        config::Nonlinearity::Relu => Activation::Relu,
        config::Nonlinearity::Lrelu => Activation::LeakyRelu,
    }
}
