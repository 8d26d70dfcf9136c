//! The keys: one table a section, with type, default and meaning. Defaults are those of the authors'
//! `configs/default_*.py`, and for the network those of `ve/cifar10_ncsnpp_continuous`.

use super::choices::*;
use serde_json::Value;

/// A section whose keys can be listed and assigned by name.
pub(super) trait Section {
    /// The keys, in the order in which they are printed.
    const KEYS: &'static [&'static str];

    /// Assigns one of [`Self::KEYS`]; the error says what the key allows.
    fn assign(&mut self, key: &str, value: &Value) -> Result<(), String>;
}

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident : $ty:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize)]
        pub struct $name {
            $($(#[$fdoc])* pub $field: $ty,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl Section for $name {
            const KEYS: &'static [&'static str] = &[$(stringify!($field),)*];

            fn assign(&mut self, key: &str, value: &Value) -> Result<(), String> {
                match key {
                    $(stringify!($field) => {
                        self.$field = <$ty as serde::Deserialize>::deserialize(value).map_err(|e| e.to_string())?;
                    })*
                    _ => return Err("there is no such key".to_owned()),
                }
                Ok(())
            }
        }
    };
}

section! {
    /// `[data]`: the images.
    Data {
        /// The published data set whose preprocessing applies.
        dataset: Dataset = Dataset::Cifar10,
        /// The part of LSUN.
        category: Option<String> = None,
        /// The TFRecord file of FFHQ and CelebA-HQ, as the authors name it; `--data` comes before it.
        tfrecords_path: Option<String> = None,
        /// Width and height in pixels.
        image_size: usize = 32,
        /// Channels of the images.
        num_channels: usize = 3,
        /// The network sees [-1, 1]; where false it sees [0, 1] and maps it itself.
        centered: bool = false,
        /// Mirror half of the training images.
        random_flip: bool = true,
        /// Spread 8-bit values uniformly over their bin.
        uniform_dequantization: bool = false,
    }
}

section! {
    /// `[model]`: the network, and the constants of the SDEs.
    Model {
        /// The architecture.
        name: ModelName = ModelName::Ncsnpp,
        /// Channels of the first level.
        nf: usize = 128,
        /// Channels of each level as a multiple of `nf`; each further level halves the image.
        ch_mult: Vec<usize> = vec![1, 2, 2, 2],
        /// Residual blocks a level on the way down; one more on the way up.
        num_res_blocks: usize = 4,
        /// Image widths at which blocks are followed by attention.
        attn_resolutions: Vec<usize> = vec![16],
        /// Resampling between DDPM blocks has a convolution.
        resamp_with_conv: bool = true,
        /// The network sees the noise level.
        conditional: bool = true,
        /// The activation.
        nonlinearity: Nonlinearity = Nonlinearity::Swish,
        /// The normalization.
        normalization: Normalization = Normalization::GroupNorm,
        /// Resampling goes through `fir_kernel`.
        fir: bool = true,
        /// The separable filter, before normalization.
        fir_kernel: Vec<f64> = vec![1.0, 3.0, 3.0, 1.0],
        /// Sums of two branches are divided by sqrt 2.
        skip_rescale: bool = true,
        /// The residual block.
        resblock_type: ResblockType = ResblockType::Biggan,
        /// How the output is grown.
        progressive: Progressive = Progressive::None,
        /// How the input is fed to coarser levels.
        progressive_input: ProgressiveInput = ProgressiveInput::Residual,
        /// How `input_skip` merges.
        progressive_combine: ProgressiveCombine = ProgressiveCombine::Sum,
        /// The attention.
        attention_type: AttentionType = AttentionType::Ddpm,
        /// How the noise level is embedded.
        embedding_type: EmbeddingType = EmbeddingType::Fourier,
        /// Standard deviation of the Fourier frequencies.
        fourier_scale: f64 = 16.0,
        /// Variance scale of the last convolution of a block at initialisation; 0 means 1e-10.
        init_scale: f64 = 0.0,
        /// Width of convolution kernels; the authors' key, always 3.
        conv_size: usize = 3,
        /// Interpolation between levels of a RefineNet.
        interpolation: Interpolation = Interpolation::Bilinear,
        /// Residual blocks in each of the classifier's three groups.
        blocks_per_group: usize = 4,
        /// The classifier's width.
        channel_multiplier: usize = 10,
        /// The classifier's classes.
        num_outputs: usize = 10,
        /// Mean of each channel that the classifier subtracts.
        preprocess_mean: Vec<f64> = vec![0.491_399_68, 0.482_158_41, 0.446_530_91],
        /// Standard deviation of each channel that the classifier divides by.
        preprocess_std: Vec<f64> = vec![0.247_032_23, 0.243_485_13, 0.261_587_84],
        /// The output is divided by sigma.
        scale_by_sigma: bool = true,
        /// Smallest noise level of the VE SDE.
        sigma_min: f64 = 0.01,
        /// Largest noise level of the VE SDE.
        sigma_max: f64 = 50.0,
        /// An older name of `sigma_max` that one configuration of the authors carries; nothing reads it.
        sigma_begin: Option<f64> = None,
        /// Discretisation steps N of the SDE, and noise levels of the network's table.
        num_scales: usize = 1000,
        /// beta(0) of the VP and sub-VP SDEs.
        beta_min: f64 = 0.1,
        /// beta(1) of the VP and sub-VP SDEs.
        beta_max: f64 = 20.0,
        /// Probability of dropping an activation in training.
        dropout: f64 = 0.1,
        /// Decay of the average of the weights.
        ema_rate: f64 = 0.999,
    }
}

section! {
    /// `[optim]`: the optimizer.
    Optim {
        /// The optimizer.
        optimizer: Optimizer = Optimizer::Adam,
        /// Learning rate after warm-up.
        lr: f64 = 2e-4,
        /// Decay of the first moment.
        beta1: f64 = 0.9,
        /// Decay of the second moment.
        beta2: f64 = 0.999,
        /// Added to the root of the second moment.
        eps: f64 = 1e-8,
        /// L2 penalty.
        weight_decay: f64 = 0.0,
        /// Steps over which the learning rate grows linearly from 0.
        warmup: u64 = 5000,
        /// Largest global norm of the gradient; negative switches clipping off.
        grad_clip: f64 = 1.0,
        /// The AMSGrad variant, which this library does not have.
        amsgrad: bool = false,
    }
}

section! {
    /// `[sampling]`: the sampler.
    Sampling {
        /// The sampler.
        method: Method = Method::new("pc"),
        /// The predictor.
        predictor: Predictor = Predictor::ReverseDiffusion,
        /// The corrector.
        corrector: Corrector = Corrector::Langevin,
        /// Corrector steps for each predictor step.
        n_steps_each: usize = 1,
        /// The last step returns its mean.
        noise_removal: bool = true,
        /// The predictor follows the probability-flow ODE.
        probability_flow: bool = false,
        /// Signal-to-noise ratio of the corrector.
        snr: f64 = 0.16,
    }
}

section! {
    /// `[training]`: the loss and the loop.
    Training {
        /// The forward process.
        sde: Sde = Sde::Ve,
        /// Time is continuous; else the loss of SMLD (VE) or DDPM (VP).
        continuous: bool = true,
        /// Weight the loss by g(t)^2.
        likelihood_weighting: bool = false,
        /// Mean over pixels instead of half the sum.
        reduce_mean: bool = false,
        /// Images in one step.
        batch_size: usize = 128,
        /// Steps.
        n_iters: u64 = 1_300_001,
        /// Steps between checkpoints that are kept.
        snapshot_freq: u64 = 50_000,
        /// Steps between checkpoints that only resume.
        snapshot_freq_for_preemption: u64 = 10_000,
        /// Draw samples at every kept checkpoint.
        snapshot_sampling: bool = true,
        /// Steps between lines of the log.
        log_freq: u64 = 50,
        /// Steps between evaluations of the loss.
        eval_freq: u64 = 100,
    }
}

section! {
    /// `[eval]`: what an evaluation of checkpoints covers.
    Eval {
        /// Images at a time.
        batch_size: usize = 1024,
        /// First checkpoint.
        begin_ckpt: u64 = 9,
        /// Last checkpoint.
        end_ckpt: u64 = 26,
        /// Samples drawn.
        num_samples: u64 = 50_000,
        /// Draw samples.
        enable_sampling: bool = false,
        /// Measure the loss.
        enable_loss: bool = true,
        /// Measure bits per dimension.
        enable_bpd: bool = false,
        /// The split whose bits per dimension are measured.
        bpd_dataset: Split = Split::Test,
    }
}

/// Keys that only the two U-Nets read.
const UNET: &[&str] = &["ch_mult", "num_res_blocks", "attn_resolutions", "resamp_with_conv", "conditional"];
/// Keys that only NCSN++ reads.
const NCSNPP: &[&str] = &[
    "fir",
    "fir_kernel",
    "skip_rescale",
    "resblock_type",
    "progressive",
    "progressive_input",
    "progressive_combine",
    "attention_type",
    "fourier_scale",
    "init_scale",
    "conv_size",
];
/// Keys that only the classifier reads.
const CLASSIFIER: &[&str] =
    &["blocks_per_group", "channel_multiplier", "num_outputs", "preprocess_mean", "preprocess_std"];
/// Keys that only the RefineNets read.
const REFINENET: &[&str] = &["interpolation"];

impl Model {
    /// The defaults of an architecture: keys that a file leaves out.
    pub fn of(name: ModelName) -> Self {
        let unet = Self { name, ..Self::default() };
        match name {
            ModelName::Ncsnpp | ModelName::Wideresnet | ModelName::Custom => unet,
            ModelName::Ddpm => Self {
                num_res_blocks: 2,
                ema_rate: 0.9999,
                embedding_type: EmbeddingType::Positional,
                scale_by_sigma: false,
                ..unet
            },
            ModelName::Ncsn => Self {
                nonlinearity: Nonlinearity::Elu,
                normalization: Normalization::InstanceNormPlus,
                scale_by_sigma: false,
                ..unet
            },
            ModelName::Ncsnv2x64 | ModelName::Ncsnv2x128 | ModelName::Ncsnv2x256 => Self {
                nonlinearity: Nonlinearity::Elu,
                normalization: Normalization::InstanceNormPlus,
                ..unet
            },
        }
    }

    /// Whether the architecture reads the key `model.<key>`.
    pub fn reads(&self, key: &str) -> bool {
        let ncsnpp = self.name == ModelName::Ncsnpp;
        let unet = ncsnpp || self.name == ModelName::Ddpm;
        let classifier = self.name == ModelName::Wideresnet;
        (unet || !UNET.contains(&key))
            && (ncsnpp || !NCSNPP.contains(&key))
            && (classifier || !CLASSIFIER.contains(&key))
            && (!(unet || classifier) || !REFINENET.contains(&key))
    }

    /// Whether the network is told sigma itself (Fourier features) rather than a label. Only NCSN++ can be.
    pub fn takes_sigma(&self) -> bool {
        self.name == ModelName::Wideresnet
            || self.name == ModelName::Ncsnpp && self.embedding_type == EmbeddingType::Fourier
    }
}
