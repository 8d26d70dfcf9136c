//! The blocks of NCSN and NCSNv2 (RefineNet: Lin et al. 2017): residual blocks that halve or dilate, residual
//! convolution units, multi-resolution fusion, chained residual pooling. Parameters have the authors' own names.

use super::layers::Conv2d;
use super::layers::activate;
use super::manifest::Scope;
use super::norm::{Norm, NormKind};
use super::resample::{Direction, Filter, resample};
use super::trace::Trace;
use crate::error::{Error, Result};
use crate::graph::Value;
use crate::ops::activation::Activation;
use crate::ops::bilinear::bilinear;
use crate::ops::conv2d::Epilogue;
use crate::ops::elementwise::add;
use crate::ops::pool::{Window, max_pool, mean_pool};

/// 5x5 windows at every pixel.
const POOL: Window = Window { size: 5, stride: 1, pad: 2 };

/// What all blocks of a network share.
#[derive(Clone, Copy, Debug)]
pub struct RefineStyle {
    /// The activation.
    pub activation: Activation,
    /// The normalization of the residual blocks.
    pub norm: NormKind,
    /// NCSN: the refine blocks have norms too, and pool by means; NCSNv2: no norms there, and maxima.
    pub conditional: bool,
}

impl RefineStyle {
    fn refine_norm(
        &self,
        scope: &mut Scope<'_>,
        name: impl std::fmt::Display,
        channels: usize,
    ) -> Option<Norm> {
        self.conditional.then(|| Norm::new(&mut scope.at(name), self.norm, channels))
    }
}

/// A residual block; `halve` ends in a mean over 2x2 pixels.
#[derive(Clone, Debug)]
pub struct ResidualBlock {
    /// Before the first convolution.
    pub normalize1: Norm,
    /// Dilated.
    pub conv1: Conv2d,
    /// Before the second convolution.
    pub normalize2: Norm,
    /// Dilated; followed by the mean where the block halves.
    pub conv2: Conv2d,
    /// `None` where the input itself is added; followed by the mean where the block halves.
    pub shortcut: Option<Conv2d>,
    /// The image is halved.
    pub halve: bool,
    /// The activation.
    pub activation: Activation,
}

impl ResidualBlock {
    /// A block. With `down` it halves where `dilation` is 1 and dilates elsewhere.
    pub fn new(
        scope: &mut Scope<'_>,
        style: &RefineStyle,
        c_in: usize,
        c_out: usize,
        down: bool,
        dilation: usize,
    ) -> Self {
        let halve = down && dilation == 1;
        let c_mid = if down { c_in } else { c_out };
        let (conv2, shortcut) = if halve { ("conv2.conv", "shortcut.conv") } else { ("conv2", "shortcut") };
        let kernel = if dilation > 1 { 3 } else { 1 };
        // In the authors' order of construction, which is the order of their files.
        let conv1 = Conv2d::torch(&mut scope.at("conv1"), c_in, c_mid, 3, dilation, true);
        let normalize2 = Norm::new(&mut scope.at("normalize2"), style.norm, c_mid);
        let conv2 = Conv2d::torch(&mut scope.at(conv2), c_mid, c_out, 3, dilation, true);
        let shortcut = (down || c_in != c_out)
            .then(|| Conv2d::torch(&mut scope.at(shortcut), c_in, c_out, kernel, dilation, true));
        let normalize1 = Norm::new(&mut scope.at("normalize1"), style.norm, c_in);
        Self { normalize1, conv1, normalize2, conv2, shortcut, halve, activation: style.activation }
    }

    /// The block on `x` (`n h w c_in`). `labels` (`n`) choose the rows of conditional norms.
    pub fn forward(&self, trace: &mut Trace<'_>, x: Value, labels: Option<Value>) -> Result<Value> {
        let h = self.normalize1.forward(trace, x, labels)?;
        let h = activate(trace, h, self.activation)?;
        let h = self.conv1.forward(trace, h)?;
        let h = self.normalize2.forward(trace, h, labels)?;
        let h = activate(trace, h, self.activation)?;
        let shortcut = match &self.shortcut {
            Some(conv) => conv.forward(trace, x)?,
            None => x,
        };
        // The mean of a sum is the sum of the means: both branches are halved at once.
        let sum = Epilogue { residual: Some(shortcut), ..Epilogue::default() };
        let h = self.conv2.forward_with(trace, h, sum)?;
        if self.halve { resample(trace, h, Direction::Down, &Filter::Naive) } else { Ok(h) }
    }
}

/// A residual convolution unit: `units` times a residual around `stages` of norm, activation, convolution.
#[derive(Clone, Debug)]
pub struct RcuBlock {
    /// The stages of each unit.
    pub units: Vec<Vec<(Option<Norm>, Conv2d)>>,
    /// The activation.
    pub activation: Activation,
}

impl RcuBlock {
    /// A block for `channels`.
    pub fn new(
        scope: &mut Scope<'_>,
        style: &RefineStyle,
        channels: usize,
        units: usize,
        stages: usize,
    ) -> Self {
        let mut stage = |unit: usize, stage: usize| {
            let norm = style.refine_norm(scope, format_args!("{unit}_{stage}_norm"), channels);
            let name = format_args!("{unit}_{stage}_conv");
            (norm, Conv2d::torch(&mut scope.at(name), channels, channels, 3, 1, false))
        };
        let units = (1..=units).map(|u| (1..=stages).map(|s| stage(u, s)).collect()).collect();
        Self { units, activation: style.activation }
    }

    /// The block on `x` (`n h w c`).
    pub fn forward(&self, trace: &mut Trace<'_>, x: Value, labels: Option<Value>) -> Result<Value> {
        let mut x = x;
        for unit in &self.units {
            let residual = x;
            for (i, (norm, conv)) in unit.iter().enumerate() {
                if let Some(norm) = norm {
                    x = norm.forward(trace, x, labels)?;
                }
                let h = activate(trace, x, self.activation)?;
                let last = i + 1 == unit.len();
                let sum = Epilogue { residual: last.then_some(residual), ..Epilogue::default() };
                x = conv.forward_with(trace, h, sum)?;
            }
        }
        Ok(x)
    }
}

/// Multi-resolution fusion: each input convolved, brought to one size with aligned corners, and summed.
#[derive(Clone, Debug)]
pub struct MsfBlock {
    /// One for each input.
    pub convs: Vec<Conv2d>,
    /// One for each input in NCSN, empty in NCSNv2.
    pub norms: Vec<Norm>,
}

impl MsfBlock {
    /// A block for inputs of `c_in` channels each.
    pub fn new(scope: &mut Scope<'_>, style: &RefineStyle, c_in: &[usize], c_out: usize) -> Self {
        let mut conv = |(i, &c): (usize, &usize)| {
            Conv2d::torch(&mut scope.at(format_args!("convs.{i}")), c, c_out, 3, 1, true)
        };
        let convs = c_in.iter().enumerate().map(&mut conv).collect();
        let norm = |(i, &c): (usize, &usize)| style.refine_norm(scope, format_args!("norms.{i}"), c);
        Self { convs, norms: c_in.iter().enumerate().filter_map(norm).collect() }
    }

    /// The sum of `xs` (`n h w c` each, of any sizes) at `size` (height, width).
    pub fn forward(
        &self,
        trace: &mut Trace<'_>,
        xs: &[Value],
        size: [usize; 2],
        labels: Option<Value>,
    ) -> Result<Value> {
        let mut sum = None;
        for (i, (&x, conv)) in xs.iter().zip(&self.convs).enumerate() {
            let h = match self.norms.get(i) {
                Some(norm) => norm.forward(trace, x, labels)?,
                None => x,
            };
            let h = conv.forward(trace, h)?;
            let [_, height, width, _] = trace.graph.nhwc("bilinear", h)?;
            // At its own size the interpolation changes nothing.
            let h = if [height, width] == size { h } else { bilinear(trace.graph, h, size)? };
            sum = Some(match sum {
                Some(sum) => add(trace.graph, sum, h)?,
                None => h,
            });
        }
        sum.ok_or_else(|| Error::shape("bilinear", "nothing to fuse", "give at least one input"))
    }
}

/// Chained residual pooling: two stages of 5x5 pooling and convolution, each added to the activated input.
#[derive(Clone, Debug)]
pub struct CrpBlock {
    /// One for each stage.
    pub convs: Vec<Conv2d>,
    /// One for each stage in NCSN, empty in NCSNv2.
    pub norms: Vec<Norm>,
    /// The pooling takes means, counting the padding, instead of maxima.
    pub average: bool,
    /// The activation.
    pub activation: Activation,
}

impl CrpBlock {
    /// A block for `channels` with `stages`.
    pub fn new(scope: &mut Scope<'_>, style: &RefineStyle, channels: usize, stages: usize) -> Self {
        let mut conv =
            |i| Conv2d::torch(&mut scope.at(format_args!("convs.{i}")), channels, channels, 3, 1, false);
        let convs = (0..stages).map(&mut conv).collect();
        let norm = |i| style.refine_norm(scope, format_args!("norms.{i}"), channels);
        Self {
            convs,
            norms: (0..stages).filter_map(norm).collect(),
            average: style.conditional,
            activation: style.activation,
        }
    }

    /// The block on `x` (`n h w c`).
    pub fn forward(&self, trace: &mut Trace<'_>, x: Value, labels: Option<Value>) -> Result<Value> {
        let mut x = activate(trace, x, self.activation)?;
        let mut path = x;
        for (i, conv) in self.convs.iter().enumerate() {
            if let Some(norm) = self.norms.get(i) {
                path = norm.forward(trace, path, labels)?;
            }
            let pooled = match self.average {
                true => mean_pool(trace.graph, path, POOL)?,
                false => max_pool(trace.graph, path, POOL)?,
            };
            path = conv.forward(trace, pooled)?;
            x = add(trace.graph, path, x)?;
        }
        Ok(x)
    }
}

/// A refine block: units on each input, fusion, pooling, units.
#[derive(Clone, Debug)]
pub struct RefineBlock {
    /// One for each input.
    pub adapt_convs: Vec<RcuBlock>,
    /// After the pooling.
    pub output_convs: RcuBlock,
    /// `None` where there is one input.
    pub msf: Option<MsfBlock>,
    /// The pooling.
    pub crp: CrpBlock,
}

impl RefineBlock {
    /// A block for inputs of `c_in` channels each; the last one of a network (`end`) has three output units.
    pub fn new(scope: &mut Scope<'_>, style: &RefineStyle, c_in: &[usize], c_out: usize, end: bool) -> Self {
        let mut adapt = |(i, &c): (usize, &usize)| {
            RcuBlock::new(&mut scope.at(format_args!("adapt_convs.{i}")), style, c, 2, 2)
        };
        let adapt_convs = c_in.iter().enumerate().map(&mut adapt).collect();
        let units = if end { 3 } else { 1 };
        let output_convs = RcuBlock::new(&mut scope.at("output_convs"), style, c_out, units, 2);
        let msf = (c_in.len() > 1).then(|| MsfBlock::new(&mut scope.at("msf"), style, c_in, c_out));
        let crp = CrpBlock::new(&mut scope.at("crp"), style, c_out, 2);
        Self { adapt_convs, output_convs, msf, crp }
    }

    /// The block on `xs` (`n h w c` each, of any sizes); the result has the first one's size.
    pub fn forward(&self, trace: &mut Trace<'_>, xs: &[Value], labels: Option<Value>) -> Result<Value> {
        let Some(&first) = xs.first() else {
            return Err(Error::shape("refine", "nothing to refine", "give at least one input"));
        };
        let [_, height, width, _] = trace.graph.nhwc("refine", first)?;
        let mut hs = Vec::new();
        for (&x, adapt) in xs.iter().zip(&self.adapt_convs) {
            hs.push(trace.block("adapt", |t| adapt.forward(t, x, labels))?);
        }
        let h = match &self.msf {
            Some(msf) => trace.block("msf", |t| msf.forward(t, &hs, [height, width], labels))?,
            None => hs[0],
        };
        let h = trace.block("crp", |t| self.crp.forward(t, h, labels))?;
        trace.block("output", |t| self.output_convs.forward(t, h, labels))
    }
}
