//! Halving and doubling images.

use super::layers::Conv2d;
use super::manifest::Scope;
use super::trace::Trace;
use crate::error::Result;
use crate::graph::Value;
use crate::ops::concat::concat;
use crate::ops::conv2d::Epilogue;
use crate::ops::resample::{downsample_mean, upsample_nearest};
use crate::ops::upfirdn2d::{conv_downsample_2d, downsample_2d, upsample_2d, upsample_conv_2d};

/// Which filter stands behind a resampling.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// Nearest neighbour up, mean of 2x2 down.
    Naive,
    /// The separable filter of StyleGAN2, before normalization.
    Fir(Vec<f64>),
}

/// Which way an image is resampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To half the width and height.
    Down,
    /// To twice the width and height.
    Up,
}

/// `x` (`n h w c`) at half or twice the size: the authors' `naive_*sample_2d` and `*sample_2d`.
pub fn resample(trace: &mut Trace<'_>, x: Value, direction: Direction, filter: &Filter) -> Result<Value> {
    let graph = &mut *trace.graph;
    match (filter, direction) {
        (Filter::Naive, Direction::Up) => upsample_nearest(graph, x),
        (Filter::Naive, Direction::Down) => downsample_mean(graph, x),
        (Filter::Fir(k), Direction::Up) => upsample_2d(graph, x, k, 2, 1.0),
        (Filter::Fir(k), Direction::Down) => downsample_2d(graph, x, k, 2, 1.0),
    }
}

/// A resampling by two with or without a 3x3 convolution: the authors' `Upsample` and `Downsample`.
#[derive(Clone, Debug)]
pub struct Resample {
    /// The way.
    pub direction: Direction,
    /// The filter. A naive `Down` with a convolution has none: the convolution has stride 2.
    pub filter: Filter,
    /// The convolution, joined with the filter where that is a FIR.
    pub conv: Option<Conv2d>,
}

impl Resample {
    /// The authors' zeros before a naive halving convolution: at the bottom and at the right.
    pub const PADDING: [usize; 4] = [0, 1, 0, 1];

    /// A resampling without a convolution.
    pub fn plain(direction: Direction, filter: &Filter) -> Self {
        Self { direction, filter: filter.clone(), conv: None }
    }

    /// A resampling with a convolution from `c_in` to `c_out` channels. `padding` (top, bottom, left, right) is that of a
    /// naive halving.
    pub fn with_conv(
        scope: &mut Scope<'_>,
        direction: Direction,
        filter: &Filter,
        [c_in, c_out]: [usize; 2],
        padding: [usize; 4],
    ) -> Self {
        let conv = match (filter, direction) {
            (Filter::Fir(_), _) => Conv2d::conv3x3(&mut scope.at("fir_conv"), c_in, c_out, 1.0),
            (Filter::Naive, Direction::Up) => Conv2d::conv3x3(&mut scope.at("conv_0"), c_in, c_out, 1.0),
            (Filter::Naive, Direction::Down) => {
                Conv2d::conv3x3_down(&mut scope.at("conv_0"), c_in, c_out, padding)
            }
        };
        Self { direction, filter: filter.clone(), conv: Some(conv) }
    }

    /// `x` (`n h w c_in`) at half or twice the size.
    pub fn forward(&self, trace: &mut Trace<'_>, x: Value) -> Result<Value> {
        let Some(conv) = &self.conv else { return resample(trace, x, self.direction, &self.filter) };
        let Filter::Fir(kernel) = &self.filter else {
            // On the way down the convolution itself halves.
            let x = match self.direction {
                Direction::Up => upsample_nearest(trace.graph, x)?,
                Direction::Down => x,
            };
            return conv.forward(trace, x);
        };
        let weight = trace.param(&conv.weight)?;
        let bias = conv.bias.as_ref().map(|bias| trace.param(bias)).transpose()?;
        let epilogue = Epilogue { bias, ..Epilogue::default() };
        match self.direction {
            Direction::Up => upsample_conv_2d(trace.graph, x, weight, kernel, 2, epilogue),
            Direction::Down => conv_downsample_2d(trace.graph, x, weight, kernel, 2, epilogue),
        }
    }
}

/// How an image pyramid is merged into features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// The sum.
    Sum,
    /// The concatenation, pyramid first.
    Cat,
}

/// The authors' `Combine`: a 1x1 convolution of the pyramid, merged with the features.
#[derive(Clone, Debug)]
pub struct Combine {
    /// From image channels to the features' channels.
    pub conv_0: Conv2d,
    /// How to merge.
    pub merge: Merge,
}

impl Combine {
    /// Merges a pyramid of `c_pyramid` channels into features of `channels`.
    pub fn new(scope: &mut Scope<'_>, c_pyramid: usize, channels: usize, merge: Merge) -> Self {
        Self { conv_0: Conv2d::conv1x1(&mut scope.at("conv_0"), c_pyramid, channels), merge }
    }

    /// Channels of the result.
    pub fn c_out(&self, channels: usize) -> usize {
        match self.merge {
            Merge::Sum => channels,
            Merge::Cat => 2 * channels,
        }
    }

    /// Merges `pyramid` (`n h w c_pyramid`) into `x` (`n h w c`).
    pub fn forward(&self, trace: &mut Trace<'_>, pyramid: Value, x: Value) -> Result<Value> {
        match self.merge {
            Merge::Sum => {
                let sum = Epilogue { residual: Some(x), ..Epilogue::default() };
                self.conv_0.forward_with(trace, pyramid, sum)
            }
            Merge::Cat => {
                let h = self.conv_0.forward(trace, pyramid)?;
                concat(trace.graph, h, x)
            }
        }
    }
}
