//! The residual blocks of the U-Nets.

use super::layers::{Conv2d, GroupNorm, Groups, Linear, Nin};
use super::manifest::Scope;
use super::resample::{Direction, Filter, resample};
use super::time::TimeEmbedding;
use super::trace::Trace;
use crate::error::Result;
use crate::graph::Value;
use crate::ops::activation::Activation;
use crate::ops::concat::concat;
use crate::ops::conv2d::Epilogue;

/// Bytes of a binding that every device has.
const LEAST_BINDING: usize = 128 << 20;

/// What all residual blocks of a network share.
#[derive(Clone, Debug)]
pub struct BlockStyle {
    /// Groups of the first and of the second norm.
    pub groups: [Groups; 2],
    /// Added to variances.
    pub norm_eps: f64,
    /// The activation.
    pub activation: Activation,
    /// Probability of dropping an activation before the second convolution, in training.
    pub dropout: f64,
    /// Variance scaling of the second convolution.
    pub init_scale: f64,
    /// Multiplies the sum of shortcut and result: 1, or 1/sqrt 2.
    pub output_scale: f64,
    /// Channels of the time embedding; `None` where blocks have none.
    pub temb_channels: Option<usize>,
}

/// What is added to a block's result.
#[derive(Clone, Debug)]
pub enum Shortcut {
    /// The input itself.
    Identity,
    /// A linear map of its channels.
    Nin(Nin),
    /// A convolution of it, 3x3 or 1x1.
    Conv(Conv2d),
}

/// `ResnetBlockDDPM`, `ResnetBlockDDPMpp` and `ResnetBlockBigGANpp`: norm, activation, convolution, time embedding; norm,
/// activation, dropout, convolution; shortcut. The BigGAN form resamples input and first activation.
#[derive(Clone, Debug)]
pub struct ResnetBlock {
    /// Before the first convolution.
    pub norm_0: GroupNorm,
    /// Changes the channels.
    pub conv_0: Conv2d,
    /// From the activated time embedding to a summand of each channel.
    pub dense_0: Option<Linear>,
    /// Before the second convolution.
    pub norm_1: GroupNorm,
    /// Keeps the channels.
    pub conv_1: Conv2d,
    /// What is added.
    pub shortcut: Shortcut,
    /// The resampling inside.
    pub resample: Option<(Direction, Filter)>,
    /// The activation.
    pub activation: Activation,
    /// Probability of dropping, in training.
    pub dropout: f64,
    /// Multiplies the sum.
    pub output_scale: f64,
}

impl ResnetBlock {
    /// The block of DDPM. Where channels change, the shortcut is a 3x3 convolution with `conv_shortcut`, else a NIN.
    pub fn ddpm(
        scope: &mut Scope<'_>,
        style: &BlockStyle,
        c_in: usize,
        c_out: usize,
        conv_shortcut: bool,
    ) -> Result<Self> {
        Self::build(scope, style, c_in, c_out, None, |scope| match (c_in == c_out, conv_shortcut) {
            (true, _) => Shortcut::Identity,
            (_, true) => Shortcut::Conv(Conv2d::conv3x3(&mut scope.at("conv_2"), c_in, c_out, 1.0)),
            (_, false) => Shortcut::Nin(Nin::new(&mut scope.at("nin_0"), c_in, c_out, Nin::INIT_SCALE)),
        })
    }

    /// The block of BigGAN. The shortcut is a 1x1 convolution where channels change or the image is resampled.
    pub fn biggan(
        scope: &mut Scope<'_>,
        style: &BlockStyle,
        c_in: usize,
        c_out: usize,
        resample: Option<(Direction, Filter)>,
    ) -> Result<Self> {
        let keeps = c_in == c_out && resample.is_none();
        Self::build(scope, style, c_in, c_out, resample, |scope| match keeps {
            true => Shortcut::Identity,
            false => Shortcut::Conv(Conv2d::conv1x1(&mut scope.at("conv_2"), c_in, c_out)),
        })
    }

    fn build(
        scope: &mut Scope<'_>,
        style: &BlockStyle,
        c_in: usize,
        c_out: usize,
        resample: Option<(Direction, Filter)>,
        shortcut: impl FnOnce(&mut Scope<'_>) -> Shortcut,
    ) -> Result<Self> {
        Ok(Self {
            norm_0: GroupNorm::new(&mut scope.at("norm_0"), c_in, style.groups[0], style.norm_eps)?,
            conv_0: Conv2d::conv3x3(&mut scope.at("conv_0"), c_in, c_out, 1.0),
            dense_0: style.temb_channels.map(|c| Linear::new(&mut scope.at("dense_0"), c, c_out)),
            norm_1: GroupNorm::new(&mut scope.at("norm_1"), c_out, style.groups[1], style.norm_eps)?,
            conv_1: Conv2d::conv3x3(&mut scope.at("conv_1"), c_out, c_out, style.init_scale),
            shortcut: shortcut(scope),
            resample,
            activation: style.activation,
            dropout: style.dropout,
            output_scale: style.output_scale,
        })
    }

    /// The block on `x` (`n h w c_in`).
    pub fn forward(&self, trace: &mut Trace<'_>, x: Value, temb: Option<&TimeEmbedding>) -> Result<Value> {
        let epilogue = self.time(trace, temb)?;
        let (x, h) = match &self.resample {
            None => {
                let h = self.conv_0.forward_behind(trace, x, &self.norm_0, self.activation, epilogue)?;
                (x, h)
            }
            Some((direction, filter)) => {
                let h = self.norm_0.forward(trace, x, Some(self.activation))?;
                let h = resample(trace, h, *direction, filter)?;
                let x = resample(trace, x, *direction, filter)?;
                (x, self.conv_0.forward_with(trace, h, epilogue)?)
            }
        };
        let residual = match &self.shortcut {
            Shortcut::Identity => x,
            Shortcut::Nin(nin) => nin.forward(trace, x)?,
            Shortcut::Conv(conv) => conv.forward(trace, x)?,
        };
        self.sum(trace, h, residual)
    }

    /// The block on `x` (`n h w c1`) with the channels of `skip` (`n h w c2`) behind it. Where an image of both is too large for the
    /// binding that every device has, the first norm, the first convolution and the shortcut read the two where they are, which
    /// takes groups that end where `x` does and a convolution as shortcut; every device then computes the same.
    pub fn forward_joined(
        &self,
        trace: &mut Trace<'_>,
        x: Value,
        skip: Value,
        temb: Option<&TimeEmbedding>,
    ) -> Result<Value> {
        let [_, h, w, c1] = trace.graph.nhwc("residual", x)?;
        let bytes = 4 * h * w * (c1 + trace.graph.shape(skip).last());
        match (&self.shortcut, &self.resample) {
            (Shortcut::Conv(shortcut), None) if bytes > LEAST_BINDING && self.norm_0.parts_at(c1) => {
                self.forward_parts(trace, [x, skip], shortcut, temb)
            }
            _ => {
                let joined = concat(trace.graph, x, skip)?;
                self.forward(trace, joined, temb)
            }
        }
    }

    fn forward_parts(
        &self,
        trace: &mut Trace<'_>,
        [x, skip]: [Value; 2],
        shortcut: &Conv2d,
        temb: Option<&TimeEmbedding>,
    ) -> Result<Value> {
        let [a, b] = self.norm_0.forward_parts(trace, [x, skip], Some(self.activation))?;
        let epilogue = self.time(trace, temb)?;
        let h = self.conv_0.forward_joined(trace, a, Some(b), epilogue)?;
        let residual = shortcut.forward_joined(trace, x, Some(skip), Epilogue::default())?;
        self.sum(trace, h, residual)
    }

    /// What follows the first convolution's sum: the time embedding.
    fn time(&self, trace: &mut Trace<'_>, temb: Option<&TimeEmbedding>) -> Result<Epilogue> {
        let temb = match (&self.dense_0, temb) {
            (Some(dense), Some(temb)) => Some(temb.of(trace, dense)?),
            _ => None,
        };
        Ok(Epilogue { temb, ..Epilogue::default() })
    }

    /// The second norm and convolution of `h`, and the shortcut's `residual`.
    fn sum(&self, trace: &mut Trace<'_>, h: Value, residual: Value) -> Result<Value> {
        let scale = self.output_scale as f32;
        let epilogue = Epilogue { residual: Some(residual), scale, ..Epilogue::default() };
        if !trace.drops(self.dropout) {
            return self.conv_1.forward_behind(trace, h, &self.norm_1, self.activation, epilogue);
        }
        let h = self.norm_1.forward(trace, h, Some(self.activation))?;
        let h = trace.dropout(h, self.dropout)?;
        self.conv_1.forward_with(trace, h, epilogue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Gpu, Options};
    use crate::graph::{Draft, DraftOptions, Graph, Resources};
    use crate::nn::Manifest;
    use crate::random::Stream;

    /// 8 channels and behind them 4, in groups of 4: output, and gradients by both inputs and all parameters.
    #[test]
    fn a_block_reads_two_parts_as_it_reads_their_concatenation() -> Result<()> {
        let gpu = Gpu::open(&Options::default())?;
        let style = BlockStyle {
            groups: [Groups::Quarter; 2],
            norm_eps: 1e-6,
            activation: Activation::Silu,
            dropout: 0.0,
            init_scale: 1.0,
            output_scale: std::f64::consts::FRAC_1_SQRT_2,
            temb_channels: None,
        };
        let mut manifest = Manifest::default();
        let block = ResnetBlock::biggan(&mut manifest.root(), &style, 12, 8, None)?;
        let run = |in_parts: bool| -> Result<Vec<Vec<f32>>> {
            let mut g = Graph::new();
            let inputs = [g.input("x", [2, 5, 5, 8]), g.input("skip", [2, 5, 5, 4])];
            let mut trace = Trace::new(&mut g, "weights");
            let y = match (&block.shortcut, in_parts) {
                (Shortcut::Conv(conv), true) => block.forward_parts(&mut trace, inputs, conv, None)?,
                _ => block.forward_joined(&mut trace, inputs[0], inputs[1], None)?,
            };
            let seed = g.input("seed", [2, 5, 5, 8]);
            let mut wanted = inputs.to_vec();
            let mut parameters = g.parameters("weights");
            parameters.sort_by_key(|&p| g.name(p).to_owned());
            wanted.extend(&parameters);
            let grads = g.backward(&[(y, seed)], &wanted)?;
            let outputs: Vec<Value> = [Some(y)].into_iter().chain(grads).flatten().collect();
            let draft = Draft::new(&g, &outputs, gpu.capabilities(), DraftOptions::default())?;
            let mut plan = draft.build(&gpu, Resources::new())?;
            let values = |part: u32, n: usize| -> Vec<f32> {
                let mut stream = Stream::new(3, 0, part);
                (0..n).map(|_| stream.uniform() as f32 - 0.4).collect()
            };
            for (part, value) in inputs.into_iter().chain([seed]).enumerate() {
                plan.write(value, &values(part as u32, g.shape(value).elements()))?;
            }
            for (part, &p) in parameters.iter().enumerate() {
                let weights = plan.parameters("weights").unwrap();
                weights.write(g.name(p), &values(10 + part as u32, g.shape(p).elements()))?;
            }
            plan.run()?;
            outputs.iter().map(|&v| plan.read(v)).collect()
        };
        let (joined, parts) = (run(false)?, run(true)?);
        assert!(joined.len() == 13 && parts.len() == 13, "{} {}", joined.len(), parts.len());
        for (a, b) in joined.iter().flatten().zip(parts.iter().flatten()) {
            assert!((a - b).abs() <= 1e-4 * a.abs().max(1.0), "{a} {b}");
        }
        Ok(())
    }
}
