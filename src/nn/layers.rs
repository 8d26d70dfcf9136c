//! Single layers: convolution, linear, NIN, group norm, noise-level embeddings.

use super::init::Init;
use super::manifest::{Param, Scope};
use super::trace::Trace;
use crate::error::Result;
use crate::graph::Value;
use crate::ops::activation::{Activation, activation};
use crate::ops::concat::window;
use crate::ops::conv2d::{self, Epilogue, Prologue};
use crate::ops::embedding::gaussian_fourier_log;
use crate::ops::group_norm::{self, group_norm};

/// `f(x)` of every element.
pub fn activate(trace: &mut Trace<'_>, x: Value, f: Activation) -> Result<Value> {
    activation(trace.graph, x, f)
}

/// A convolution over channels-last activations; the weight is `out in kh kw`.
#[derive(Clone, Debug)]
pub struct Conv2d {
    /// The weight.
    pub weight: Param,
    /// One number for each output channel.
    pub bias: Option<Param>,
    /// Step in pixels, both ways.
    pub stride: usize,
    /// Distance of the taps in pixels.
    pub dilation: usize,
    /// Zeros around the image: top, bottom, left, right.
    pub padding: [usize; 4],
}

impl Conv2d {
    /// The authors' `ddpm_conv3x3`: padded by 1, variance scaling by `init_scale`, bias zero.
    pub fn conv3x3(scope: &mut Scope<'_>, c_in: usize, c_out: usize, init_scale: f64) -> Self {
        Self::scaled(scope, c_in, c_out, 3, init_scale, 1, [1; 4])
    }

    /// The authors' `ddpm_conv1x1`.
    pub fn conv1x1(scope: &mut Scope<'_>, c_in: usize, c_out: usize) -> Self {
        Self::scaled(scope, c_in, c_out, 1, 1.0, 1, [0; 4])
    }

    /// A 3x3 convolution of stride 2 after zeros at the top, bottom, left and right.
    pub fn conv3x3_down(scope: &mut Scope<'_>, c_in: usize, c_out: usize, padding: [usize; 4]) -> Self {
        Self::scaled(scope, c_in, c_out, 3, 1.0, 2, padding)
    }

    /// A convolution with PyTorch's default initialisation, padded so that the size stays, as in NCSN and NCSNv2.
    pub fn torch(
        scope: &mut Scope<'_>,
        c_in: usize,
        c_out: usize,
        kernel: usize,
        dilation: usize,
        bias: bool,
    ) -> Self {
        let init = Init::torch_default(c_in * kernel * kernel);
        Self {
            weight: scope.declare("weight", &[c_out, c_in, kernel, kernel], init),
            bias: bias.then(|| scope.declare("bias", &[c_out], init)),
            stride: 1,
            dilation,
            padding: [kernel / 2 * dilation; 4],
        }
    }

    /// The convolution of `x` (`n h w c_in`).
    pub fn forward(&self, trace: &mut Trace<'_>, x: Value) -> Result<Value> {
        self.forward_with(trace, x, Epilogue::default())
    }

    /// The same with a time embedding, a residual or a scale behind it; the bias is this layer's.
    pub fn forward_with(&self, trace: &mut Trace<'_>, x: Value, epilogue: Epilogue) -> Result<Value> {
        self.forward_joined(trace, x, None, epilogue)
    }

    /// The same of `x` with the channels of `second` behind it; the two are never written side by side.
    pub fn forward_joined(
        &self,
        trace: &mut Trace<'_>,
        x: Value,
        second: Option<Value>,
        epilogue: Epilogue,
    ) -> Result<Value> {
        let (weight, epilogue) = self.operands(trace, epilogue)?;
        conv2d::conv2d(trace.graph, x, second, weight, self.geometry(), epilogue)
    }

    /// The same of `f(norm(x))`, which nobody else reads: one op where `f` is one that kernels fuse.
    pub fn forward_behind(
        &self,
        trace: &mut Trace<'_>,
        x: Value,
        norm: &GroupNorm,
        f: Activation,
        epilogue: Epilogue,
    ) -> Result<Value> {
        if f != Activation::Silu {
            let h = norm.forward(trace, x, Some(f))?;
            return self.forward_with(trace, h, epilogue);
        }
        let prologue = Prologue {
            weight: trace.param(&norm.weight)?,
            bias: trace.param(&norm.bias)?,
            norm: group_norm::GroupNorm { groups: norm.groups, norm_eps: norm.norm_eps as f32, silu: true },
        };
        let (weight, epilogue) = self.operands(trace, epilogue)?;
        conv2d::norm_conv2d(trace.graph, x, prologue, weight, self.geometry(), epilogue)
    }

    fn geometry(&self) -> conv2d::Conv2d {
        conv2d::Conv2d { stride: self.stride, pad: self.padding, dilation: self.dilation }
    }

    /// The weight, and `epilogue` with this layer's bias.
    fn operands(&self, trace: &mut Trace<'_>, epilogue: Epilogue) -> Result<(Value, Epilogue)> {
        let bias = self.bias.as_ref().map(|bias| trace.param(bias)).transpose()?;
        Ok((trace.param(&self.weight)?, Epilogue { bias, ..epilogue }))
    }

    fn scaled(
        scope: &mut Scope<'_>,
        c_in: usize,
        c_out: usize,
        kernel: usize,
        init_scale: f64,
        stride: usize,
        padding: [usize; 4],
    ) -> Self {
        let taps = kernel * kernel;
        let init = Init::variance_scaling(init_scale, c_in * taps, c_out * taps);
        Self {
            weight: scope.declare("weight", &[c_out, c_in, kernel, kernel], init),
            bias: Some(scope.declare("bias", &[c_out], Init::Constant(0.0))),
            stride,
            dilation: 1,
            padding,
        }
    }
}

/// A linear layer on vectors; the weight is `out in`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// The weight.
    pub weight: Param,
    /// One number for each output.
    pub bias: Param,
}

impl Linear {
    /// A layer of variance scaling 1, bias zero.
    pub fn new(scope: &mut Scope<'_>, c_in: usize, c_out: usize) -> Self {
        Self::with_init(scope, c_in, c_out, Init::variance_scaling(1.0, c_in, c_out))
    }

    /// A layer whose weight begins as `init`, bias zero.
    pub fn with_init(scope: &mut Scope<'_>, c_in: usize, c_out: usize, init: Init) -> Self {
        Self {
            weight: scope.declare("weight", &[c_out, c_in], init),
            bias: scope.declare("bias", &[c_out], Init::Constant(0.0)),
        }
    }

    /// The layer on the last dimension of `x`.
    pub fn forward(&self, trace: &mut Trace<'_>, x: Value) -> Result<Value> {
        let (weight, bias) = (trace.param(&self.weight)?, trace.param(&self.bias)?);
        conv2d::linear(trace.graph, x, weight, false, Epilogue::bias(bias))
    }
}

/// The authors' NIN: a linear layer on the channels of each pixel; the weight is `in out`.
#[derive(Clone, Debug)]
pub struct Nin {
    /// The weight.
    pub weight: Param,
    /// One number for each output channel.
    pub bias: Param,
}

impl Nin {
    /// The scale of variance scaling where the authors give none.
    pub const INIT_SCALE: f64 = 0.1;

    /// A layer of variance scaling `init_scale`, bias zero.
    pub fn new(scope: &mut Scope<'_>, c_in: usize, c_out: usize, init_scale: f64) -> Self {
        Self {
            weight: scope.declare("w", &[c_in, c_out], Init::variance_scaling(init_scale, c_in, c_out)),
            bias: scope.declare("b", &[c_out], Init::Constant(0.0)),
        }
    }

    /// The layer on the channels of `x` (`n h w c_in`).
    pub fn forward(&self, trace: &mut Trace<'_>, x: Value) -> Result<Value> {
        self.forward_with(trace, x, Epilogue::default())
    }

    /// Several layers of one width on one input, which may be computed at once.
    pub fn forward_apart<const N: usize>(
        trace: &mut Trace<'_>,
        x: Value,
        layers: [&Self; N],
    ) -> Result<[Value; N]> {
        let mut operands = [[x; 2]; N];
        for (to, layer) in operands.iter_mut().zip(layers) {
            *to = [trace.param(&layer.weight)?, trace.param(&layer.bias)?];
        }
        conv2d::linear_apart(trace.graph, x, operands)
    }

    /// The same with a residual or a scale behind it; the bias is this layer's.
    pub fn forward_with(&self, trace: &mut Trace<'_>, x: Value, epilogue: Epilogue) -> Result<Value> {
        let (weight, bias) = (trace.param(&self.weight)?, trace.param(&self.bias)?);
        conv2d::linear(trace.graph, x, weight, true, Epilogue { bias: Some(bias), ..epilogue })
    }
}

/// How many groups a group norm has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Groups {
    /// min(channels / 4, 32), as in NCSN++.
    Quarter,
    /// A number, as in DDPM.
    Fixed(usize),
}

impl Groups {
    /// The number for a layer of `channels`.
    pub fn of(self, channels: usize) -> usize {
        match self {
            Self::Quarter => (channels / 4).min(32),
            Self::Fixed(groups) => groups,
        }
    }
}

/// Group normalization with biased variance.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    /// Factor of each channel.
    pub weight: Param,
    /// Summand of each channel.
    pub bias: Param,
    /// Number of groups.
    pub groups: usize,
    /// Added to the variance.
    pub norm_eps: f64,
}

impl GroupNorm {
    /// The authors' `norm_eps` for PyTorch.
    pub const EPS: f64 = 1e-6;

    /// A layer that begins as the plain normalization.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the groups do not divide the channels.
    pub fn new(scope: &mut Scope<'_>, channels: usize, groups: Groups, norm_eps: f64) -> Result<Self> {
        let number = groups.of(channels);
        if number == 0 || !channels.is_multiple_of(number) {
            let remedy = match groups {
                Groups::Quarter => "choose widths that are multiples of 4, and of 32 above 128 channels",
                Groups::Fixed(_) => "choose widths that are multiples of the groups",
            };
            scope.refuse(
                "group_norm",
                format!("{number} groups do not divide {channels} channels"),
                remedy,
            )?;
        }
        Ok(Self {
            weight: scope.declare("weight", &[channels], Init::Constant(1.0)),
            bias: scope.declare("bias", &[channels], Init::Constant(0.0)),
            groups: number,
            norm_eps,
        })
    }

    /// The normalization of `x` (`n h w c`), and an activation behind it.
    pub fn forward(&self, trace: &mut Trace<'_>, x: Value, f: Option<Activation>) -> Result<Value> {
        let affine = [trace.param(&self.weight)?, trace.param(&self.bias)?];
        self.normalize(trace, x, affine, self.groups, f)
    }

    /// Whether no group of this layer holds channels on both sides of the first `channels`.
    pub fn parts_at(&self, channels: usize) -> bool {
        let all = self.weight.shape.iter().product::<usize>();
        channels.is_multiple_of(all / self.groups)
    }

    /// The normalization of `first` with the channels of `second` behind it, in two parts that are never written side by side. Only
    /// where [`GroupNorm::parts_at`] the channels of `first`.
    pub fn forward_parts(
        &self,
        trace: &mut Trace<'_>,
        parts: [Value; 2],
        f: Option<Activation>,
    ) -> Result<[Value; 2]> {
        let channels = parts.map(|x| trace.graph.shape(x).last());
        let size = (channels[0] + channels[1]) / self.groups;
        let affine = [trace.param(&self.weight)?, trace.param(&self.bias)?];
        let mut part = |i: usize, from: usize| {
            let [weight, bias] = affine.map(|v| window(trace.graph, v, from as i32, channels[i]));
            self.normalize(trace, parts[i], [weight?, bias?], channels[i] / size, f)
        };
        Ok([part(0, 0)?, part(1, channels[0])?])
    }

    fn normalize(
        &self,
        trace: &mut Trace<'_>,
        x: Value,
        [weight, bias]: [Value; 2],
        groups: usize,
        f: Option<Activation>,
    ) -> Result<Value> {
        let silu = f == Some(Activation::Silu);
        let options = group_norm::GroupNorm { groups, norm_eps: self.norm_eps as f32, silu };
        let y = group_norm(trace.graph, x, weight, bias, options)?;
        match f {
            Some(f) if !silu => activate(trace, y, f),
            _ => Ok(y),
        }
    }
}

/// Random Fourier features of the logarithm of sigma: sin and cos of 2 pi ln(sigma) w, side by side.
#[derive(Clone, Debug)]
pub struct GaussianFourierProjection {
    /// The frequencies; never trained.
    pub w: Param,
}

impl GaussianFourierProjection {
    /// `features` frequencies of standard deviation `scale`; the result has twice as many channels.
    pub fn new(scope: &mut Scope<'_>, features: usize, scale: f64) -> Self {
        Self { w: scope.declare_fixed("w", &[features], Init::Normal { mean: 0.0, std: scale }) }
    }

    /// The features of `sigma` (`n`, positive): `n 2·features`.
    pub fn forward(&self, trace: &mut Trace<'_>, sigma: Value) -> Result<Value> {
        let w = trace.param(&self.w)?;
        gaussian_fourier_log(trace.graph, sigma, w)
    }
}
