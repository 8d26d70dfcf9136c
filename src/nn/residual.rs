//! The residual blocks of the U-Nets.

use super::layers::{Conv2d, GroupNorm, Groups, Linear, Nin};
use super::manifest::Scope;
use super::resample::{Direction, Filter, resample};
use super::trace::Trace;
use crate::error::Result;
use crate::graph::Value;
use crate::ops::activation::Activation;
use crate::ops::conv2d::Epilogue;

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

    /// The block on `x` (`n h w c_in`). `temb` (`n c_temb`) is the time embedding behind its activation.
    pub fn forward(&self, trace: &mut Trace<'_>, x: Value, temb: Option<Value>) -> Result<Value> {
        let mut x = x;
        let mut h = self.norm_0.forward(trace, x, Some(self.activation))?;
        if let Some((direction, filter)) = &self.resample {
            h = resample(trace, h, *direction, filter)?;
            x = resample(trace, x, *direction, filter)?;
        }
        let temb = match (&self.dense_0, temb) {
            (Some(dense), Some(temb)) => Some(dense.forward(trace, temb)?),
            _ => None,
        };
        let h = self.conv_0.forward_with(trace, h, Epilogue { temb, ..Epilogue::default() })?;
        let h = self.norm_1.forward(trace, h, Some(self.activation))?;
        let h = trace.dropout(h, self.dropout)?;
        let residual = match &self.shortcut {
            Shortcut::Identity => x,
            Shortcut::Nin(nin) => nin.forward(trace, x)?,
            Shortcut::Conv(conv) => conv.forward(trace, x)?,
        };
        let sum =
            Epilogue { residual: Some(residual), scale: self.output_scale as f32, ..Epilogue::default() };
        self.conv_1.forward_with(trace, h, sum)
    }
}
