//! The block of the noise-conditional WideResNet (Zagoruyko & Komodakis 2016; the authors' JAX classifier).

use super::init::Init;
use super::layers::{Conv2d, GroupNorm, Groups, Linear};
use super::manifest::{Param, Scope};
use super::resample::{Direction, Filter, resample};
use super::trace::Trace;
use crate::error::Result;
use crate::graph::Value;
use crate::ops::activation::Activation;
use crate::ops::concat::window;
use crate::ops::conv2d::Epilogue;

/// flax's default `epsilon` of group norms, as the authors' classifier has it.
pub const NORM_EPS: f64 = 1e-5;

/// A 3x3 convolution without bias that begins as Kaiming's `fan_out`, padded as flax's `SAME`: all around at stride 1, at the
/// bottom and the right at stride 2 on even sizes.
pub fn conv3x3(scope: &mut Scope<'_>, c_in: usize, c_out: usize, stride: usize) -> Conv2d {
    let init = Init::Normal { mean: 0.0, std: (2.0 / (9 * c_out) as f64).sqrt() };
    let weight: Param = scope.declare("weight", &[c_out, c_in, 3, 3], init);
    let padding = if stride == 1 { [1; 4] } else { [0, 1, 0, 1] };
    Conv2d { weight, bias: None, stride, dilation: 1, padding }
}

/// A linear layer that begins as flax's default: normal with variance 1/fan_in.
pub fn dense(scope: &mut Scope<'_>, c_in: usize, c_out: usize) -> Linear {
    Linear::with_init(scope, c_in, c_out, Init::Normal { mean: 0.0, std: 1.0 / (c_in as f64).sqrt() })
}

/// Norm, ReLU, convolution, time embedding, norm, ReLU, convolution, and a shortcut without parameters.
#[derive(Clone, Debug)]
pub struct WideResnetBlock {
    /// The authors' `init_bn`.
    pub norm_0: GroupNorm,
    /// May have stride 2.
    pub conv_0: Conv2d,
    /// From the activated time embedding.
    pub dense_0: Linear,
    /// The authors' `bn_2`.
    pub norm_1: GroupNorm,
    /// Keeps the size.
    pub conv_1: Conv2d,
    /// The shortcut starts at the activated input instead of the input: the first block of the first group.
    pub activate_before_residual: bool,
    /// Channels of input and result; the shortcut is filled up with zeros.
    pub channels: [usize; 2],
}

impl WideResnetBlock {
    /// A block.
    pub fn new(
        scope: &mut Scope<'_>,
        c_in: usize,
        c_out: usize,
        stride: usize,
        temb_channels: usize,
        activate_before_residual: bool,
    ) -> Result<Self> {
        Ok(Self {
            norm_0: GroupNorm::new(&mut scope.at("norm_0"), c_in, Groups::Quarter, NORM_EPS)?,
            conv_0: conv3x3(&mut scope.at("conv_0"), c_in, c_out, stride),
            dense_0: dense(&mut scope.at("dense_0"), temb_channels, c_out),
            norm_1: GroupNorm::new(&mut scope.at("norm_1"), c_out, Groups::Quarter, NORM_EPS)?,
            conv_1: conv3x3(&mut scope.at("conv_1"), c_out, c_out, 1),
            activate_before_residual,
            channels: [c_in, c_out],
        })
    }

    /// The block on `x` (`n h w c_in`). `temb` (`n c_temb`) is the time embedding behind its activation.
    pub fn forward(&self, trace: &mut Trace<'_>, x: Value, temb: Value) -> Result<Value> {
        let h = self.norm_0.forward(trace, x, Some(Activation::Relu))?;
        let mut shortcut = if self.activate_before_residual { h } else { x };
        if self.conv_0.stride == 2 {
            shortcut = resample(trace, shortcut, Direction::Down, &Filter::Naive)?;
        }
        let [c_in, c_out] = self.channels;
        if c_in != c_out {
            shortcut = window(trace.graph, shortcut, 0, c_out)?;
        }
        let temb = Some(self.dense_0.forward(trace, temb)?.into());
        let h = self.conv_0.forward_with(trace, h, Epilogue { temb, ..Epilogue::default() })?;
        let h = self.norm_1.forward(trace, h, Some(Activation::Relu))?;
        self.conv_1.forward_with(trace, h, Epilogue { residual: Some(shortcut), ..Epilogue::default() })
    }
}
