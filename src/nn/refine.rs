//! The blocks of NCSN and NCSNv2 (RefineNet: Lin et al. 2017): residual blocks that halve or dilate, residual
//! convolution units, multi-resolution fusion, chained residual pooling. Parameters have the authors' own names.

use super::layers::Conv2d;
use super::manifest::Scope;
use super::norm::{Norm, NormKind};
use super::residual::Activation;

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
}
