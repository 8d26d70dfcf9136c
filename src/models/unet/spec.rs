//! The U-Net of NCSN++, DDPM++ and DDPM, resolved from a configuration.

use crate::error::{Error, Result};
use crate::models::config::{self, Config, EmbeddingType, ModelName, ResblockType};
use crate::nn::layers::{GroupNorm, Groups};
use crate::nn::resample::{Filter, Merge, Resample};
use crate::nn::residual::BlockStyle;
use crate::ops::activation::Activation;
use crate::sde::TimeConditioning;

/// How the noise level enters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Embedding {
    /// Random Fourier features of ln sigma.
    Fourier {
        /// Standard deviation of the frequencies.
        scale: f64,
    },
    /// Sines and cosines of the label.
    Positional {
        /// Cosines come first.
        cos_first: bool,
        /// Frequency i is 10000^(-i / (half - shift)); 1 in the authors' code.
        shift: f64,
    },
}

/// The groups of the norms. They differ only in networks that diffusers describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormGroups {
    /// In the blocks of the levels.
    pub blocks: Groups,
    /// In the attention of the levels.
    pub attention: Groups,
    /// In the middle and before the output convolution.
    pub mid: Groups,
    /// Before the convolutions of coarser levels to the output pyramid.
    pub heads: Groups,
    /// The first norm of a block on the way up, at levels with attention, has min(c + skip / 4, 32) groups instead of
    /// min((c + skip) / 4, 32): diffusers' `AttnSkipUpBlock2D`. Equal at the published sizes.
    pub skip_alone_in_quarters: bool,
}

impl NormGroups {
    /// One rule everywhere.
    pub fn all(groups: Groups) -> Self {
        Self { blocks: groups, attention: groups, mid: groups, heads: groups, skip_alone_in_quarters: false }
    }
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
    /// Whether each level's blocks are followed by attention on the way down.
    pub attention_down: Vec<bool>,
    /// The same on the way up.
    pub attention_up: Vec<bool>,
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
    /// Zeros around the image before a halving convolution without a filter: top, bottom, left, right.
    pub downsample_padding: [usize; 4],
    /// How the image is fed to coarser levels.
    pub input_pyramid: InputPyramid,
    /// How the output is grown.
    pub output_pyramid: OutputPyramid,
    /// What all blocks share.
    pub style: BlockStyle,
    /// The activation between the layers of the time embedding and in front of output convolutions: the blocks' own, but SiLU in
    /// networks that diffusers describes.
    pub outer_activation: Activation,
    /// The groups of the norms.
    pub groups: NormGroups,
    /// [`BlockStyle::output_scale`] of the blocks in the middle.
    pub mid_output_scale: f64,
    /// What the network is told about time, and what its output is.
    pub conditioning: TimeConditioning,
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
        let groups = if plus { Groups::Quarter } else { Groups::Fixed(32) };
        let style = BlockStyle {
            groups: [groups; 2],
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
        let attention: Vec<bool> =
            config.level_widths().iter().map(|w| model.attn_resolutions.contains(w)).collect();
        let fourier = plus && model.embedding_type == EmbeddingType::Fourier;
        Ok(Self {
            image_size: config.data.image_size,
            num_channels: config.data.num_channels,
            nf: model.nf,
            level_channels: model.ch_mult.iter().map(|mult| model.nf * mult).collect(),
            attention_down: attention.clone(),
            attention_up: attention,
            attention_after_every_up_block: false,
            num_res_blocks: model.num_res_blocks,
            embedding: match fourier {
                true => Embedding::Fourier { scale: model.fourier_scale },
                false => Embedding::Positional { cos_first: false, shift: 1.0 },
            },
            conditional: model.conditional,
            biggan: plus && model.resblock_type == ResblockType::Biggan,
            filter: match plus && model.fir {
                true => Filter::Fir(model.fir_kernel.clone()),
                false => Filter::Naive,
            },
            resamp_with_conv: model.resamp_with_conv,
            downsample_padding: Resample::PADDING,
            input_pyramid,
            output_pyramid,
            outer_activation: style.activation,
            style,
            groups: NormGroups::all(groups),
            mid_output_scale: output_scale,
            conditioning: config.conditioning(),
            centered: config.data.centered,
            scale_by_sigma: model.scale_by_sigma,
            sigmas: config.sigmas(),
        })
    }
}

/// The layer that a configuration names.
pub(crate) fn activation(name: config::Nonlinearity) -> Activation {
    match name {
        config::Nonlinearity::Swish => Activation::Silu,
        config::Nonlinearity::Elu => Activation::Elu,
        config::Nonlinearity::Relu => Activation::Relu,
        config::Nonlinearity::Lrelu => Activation::LeakyRelu,
    }
}
