//! The noise-conditional WideResNet classifier (Song et al. 2021, appendix I; the authors' JAX code).

use crate::error::{Error, Result};
use crate::graph::Value;
use crate::models::config::{Config, ModelName};
use crate::models::{Network, check_input};
use crate::nn::layers::activate;
use crate::nn::layers::{Conv2d, GaussianFourierProjection, GroupNorm, Groups, Linear};
use crate::nn::manifest::Manifest;
use crate::nn::wide::{self, WideResnetBlock};
use crate::nn::{Init, Trace};
use crate::ops::activation::Activation;
use crate::ops::conv2d::{Epilogue, linear};
use crate::ops::pool::{Window, mean_pool};
use crate::ops::{broadcast, elementwise, reciprocal, reduce};

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
    image: [usize; 3],
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
        let image = [config.data.image_size, config.data.image_size, config.data.num_channels];
        Ok(Self { manifest, fourier, time, conv_in, groups, norm_out, dense_out, preprocess, image })
    }
}

impl Network for Classifier {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn forward(&self, trace: &mut Trace<'_>, x: Value, time_cond: Value) -> Result<Value> {
        check_input(trace.graph, x, time_cond, self.image)?;
        let temb = trace.scoped("time", |t| {
            let embedded = self.fourier.forward(t, time_cond)?;
            let temb = self.time[0].forward(t, embedded)?;
            let temb = activate(t, temb, Activation::Silu)?;
            let temb = self.time[1].forward(t, temb)?;
            // Every block applies the activation first.
            activate(t, temb, Activation::Silu)
        })?;
        let x = trace.scoped("preprocess", |t| self.preprocessed(t, x))?;
        let mut h = self.conv_in.forward(trace, x)?;
        for (i, blocks) in self.groups.iter().enumerate() {
            for (j, block) in blocks.iter().enumerate() {
                h = trace.block(&format!("group.{i}.block.{j}"), |t| block.forward(t, h, temb))?;
            }
        }
        let h = self.norm_out.forward(trace, h, Some(Activation::Relu))?;
        let [n, side, _, c] = trace.graph.nhwc("classifier", h)?;
        let means = mean_pool(trace.graph, h, Window { size: side, stride: side, pad: 0 })?;
        let means = elementwise::copy_as(trace.graph, means, [n, c])?;
        self.dense_out.forward(trace, means)
    }
}

impl Classifier {
    /// (x - mean)/std of each channel, then the standardisation of each image: minus its mean, over max(its standard deviation,
    /// 1/sqrt(D)).
    fn preprocessed(&self, trace: &mut Trace<'_>, x: Value) -> Result<Value> {
        let (mean, std) = &self.preprocess;
        let c = mean.len();
        let mut factors = vec![0.0; c * c];
        for i in 0..c {
            factors[i * c + i] = (1.0 / std[i]) as f32;
        }
        let shifts: Vec<f32> = mean.iter().zip(std).map(|(mean, std)| (-mean / std) as f32).collect();
        let graph = &mut *trace.graph;
        let factors = graph.constant("1/std", [c, c], &factors);
        let shifts = graph.constant("-mean/std", [c], &shifts);
        let x = linear(graph, x, factors, false, Epilogue::bias(shifts))?;
        let mean = reduce::mean_images(graph, x)?;
        let minus = elementwise::scale(graph, mean, -1.0)?;
        let x = broadcast::add_images(graph, x, minus)?;
        // With D elements the standard deviation is |x|/sqrt(D), so its bound is 1 for |x|.
        let norm = reduce::norm_images(graph, x)?;
        let factor = reciprocal::reciprocal(graph, norm, 1.0)?;
        let elements = self.image.iter().product::<usize>() as f32;
        broadcast::combine_images(graph, &[(x, factor, elements.sqrt())])
    }
}
