//! The U-Net of NCSN++, DDPM++ (Song et al. 2021) and DDPM (Ho et al. 2020).

mod forward;
mod spec;

pub(crate) use spec::activation;
pub use spec::{Embedding, InputPyramid, NormGroups, OutputPyramid, UnetSpec};

use crate::error::Result;
use crate::nn::attention::AttnBlock;
use crate::nn::layers::{Conv2d, GaussianFourierProjection, GroupNorm, Groups, Linear};
use crate::nn::manifest::{Manifest, Scope};
use crate::nn::resample::{Combine, Direction, Resample};
use crate::nn::residual::{BlockStyle, ResnetBlock};
use crate::sde::TimeConditioning;

/// A residual block and the attention behind it.
#[derive(Clone, Debug)]
struct Stage {
    block: ResnetBlock,
    attention: Option<AttnBlock>,
}

/// What halves or doubles the features between two levels.
#[derive(Clone, Debug)]
enum Step {
    Block(Box<ResnetBlock>),
    Resample(Resample),
}

/// What merges the image pyramid after a halving.
#[derive(Clone, Debug)]
enum InputMerge {
    Combine(Combine),
    Residual(Resample),
}

/// What a level on the way up adds to the output pyramid.
#[derive(Clone, Debug)]
enum OutputMerge {
    /// Norm, activation, convolution of the features.
    Head(GroupNorm, Conv2d),
    /// The pyramid, upsampled with a convolution, plus the features.
    Residual(Resample),
}

/// A level on the way down.
#[derive(Clone, Debug)]
struct DownLevel {
    stages: Vec<Stage>,
    step: Option<(Step, Option<InputMerge>)>,
}

/// A level on the way up.
#[derive(Clone, Debug)]
struct UpLevel {
    stages: Vec<Stage>,
    output: Option<OutputMerge>,
    step: Option<Step>,
}

/// The network: the layers by name, and the list of its parameters.
#[derive(Clone, Debug)]
pub struct Unet {
    spec: UnetSpec,
    manifest: Manifest,
    fourier: Option<GaussianFourierProjection>,
    time: Option<[Linear; 2]>,
    conv_in: Conv2d,
    down: Vec<DownLevel>,
    mid: (ResnetBlock, AttnBlock, ResnetBlock),
    /// Coarsest first.
    up: Vec<UpLevel>,
    /// Norm and convolution at the end; `None` where the output pyramid is the output.
    head: Option<(GroupNorm, Conv2d)>,
}

impl Unet {
    /// The same network, told about time as `conditioning` says.
    pub fn with_conditioning(mut self, conditioning: TimeConditioning) -> Self {
        self.spec.conditioning = conditioning;
        self
    }

    /// Constructs the layers, in the authors' order.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when groups do not divide channels.
    pub fn new(spec: UnetSpec) -> Result<Self> {
        let mut manifest = Manifest::default();
        let mut root = manifest.root();
        let nf = spec.nf;
        let fourier = match spec.embedding {
            Embedding::Fourier { scale } => {
                Some(GaussianFourierProjection::new(&mut root.module("time.fourier"), nf, scale))
            }
            Embedding::Positional { .. } => None,
        };
        let embedded = if fourier.is_some() { 2 * nf } else { nf };
        let time = spec.conditional.then(|| {
            [
                Linear::new(&mut root.module("time.dense_0"), embedded, 4 * nf),
                Linear::new(&mut root.module("time.dense_1"), 4 * nf, 4 * nf),
            ]
        });
        let conv_in = Conv2d::conv3x3(&mut root.module("conv_in"), spec.num_channels, nf, 1.0);
        let mut skips = vec![nf];
        let down = build_down(&mut root, &spec, &mut skips)?;
        let channels = skips.last().copied().unwrap_or(nf);
        let mid_style = BlockStyle {
            groups: [spec.groups.mid; 2],
            output_scale: spec.mid_output_scale,
            ..spec.style.clone()
        };
        let mid = (
            block(&mut root.module("mid.block.0"), &spec, &mid_style, channels, channels)?,
            attention(&mut root.module("mid.attention"), &mid_style, spec.groups.mid, channels)?,
            block(&mut root.module("mid.block.1"), &spec, &mid_style, channels, channels)?,
        );
        let (up, channels) = build_up(&mut root, &spec, skips, channels)?;
        let head = match spec.output_pyramid {
            OutputPyramid::Skip => None,
            _ => Some(build_head(&mut root, &spec, spec.groups.mid, ("norm_out", "conv_out"), channels)?),
        };
        Ok(Self { spec, manifest, fourier, time, conv_in, down, mid, up, head })
    }

    /// What it was built from.
    pub fn spec(&self) -> &UnetSpec {
        &self.spec
    }

    /// The number of groups of every norm, level by level.
    #[cfg(feature = "files")]
    pub(crate) fn group_counts(&self) -> Vec<usize> {
        fn block(b: &ResnetBlock) -> Vec<usize> {
            vec![b.norm_0.groups, b.norm_1.groups]
        }
        fn stage(s: &Stage) -> Vec<usize> {
            let attention = s.attention.iter().map(|a| a.norm.groups);
            block(&s.block).into_iter().chain(attention).collect()
        }
        fn step(s: &Step) -> Vec<usize> {
            if let Step::Block(b) = s { block(b) } else { Vec::new() }
        }
        let mut counts = Vec::new();
        for level in &self.down {
            counts.extend(level.stages.iter().flat_map(stage));
            counts.extend(level.step.iter().flat_map(|(s, _)| step(s)));
        }
        counts.extend(block(&self.mid.0));
        counts.push(self.mid.1.norm.groups);
        counts.extend(block(&self.mid.2));
        for level in &self.up {
            counts.extend(level.stages.iter().flat_map(stage));
            if let Some(OutputMerge::Head(norm, _)) = &level.output {
                counts.push(norm.groups);
            }
            counts.extend(level.step.iter().flat_map(step));
        }
        counts.extend(self.head.iter().map(|(norm, _)| norm.groups));
        counts
    }
}

/// The levels on the way down; `skips` receives the channels of every skip connection.
fn build_down(root: &mut Scope<'_>, spec: &UnetSpec, skips: &mut Vec<usize>) -> Result<Vec<DownLevel>> {
    let mut levels = Vec::new();
    let mut channels = spec.nf;
    let mut pyramid_channels = spec.num_channels;
    for (level, &c_out) in spec.level_channels.iter().enumerate() {
        let mut scope = root.at(format_args!("down.{level}"));
        let mut stages = Vec::new();
        for i in 0..spec.num_res_blocks {
            let block =
                block(&mut scope.module(format_args!("block.{i}")), spec, &spec.style, channels, c_out)?;
            channels = c_out;
            let attention = match spec.attention_down[level] {
                true => Some(level_attention(&mut scope, spec, i, channels)?),
                false => None,
            };
            stages.push(Stage { block, attention });
            skips.push(channels);
        }
        let last = level + 1 == spec.level_channels.len();
        let step = match last {
            true => None,
            false => {
                let step = step(&mut scope, spec, Direction::Down, channels)?;
                let merge = match spec.input_pyramid {
                    InputPyramid::None => None,
                    InputPyramid::Skip(merge) => {
                        let combine =
                            Combine::new(&mut scope.module("combine"), pyramid_channels, channels, merge);
                        channels = combine.c_out(channels);
                        Some(InputMerge::Combine(combine))
                    }
                    InputPyramid::Residual => {
                        let mut module = scope.module("pyramid");
                        let sizes = [pyramid_channels, channels];
                        let merge = resample_with_conv(&mut module, spec, Direction::Down, sizes);
                        pyramid_channels = channels;
                        Some(InputMerge::Residual(merge))
                    }
                };
                skips.push(channels);
                Some((step, merge))
            }
        };
        levels.push(DownLevel { stages, step });
    }
    Ok(levels)
}

/// The levels on the way up, coarsest first, and the channels at the end.
fn build_up(
    root: &mut Scope<'_>,
    spec: &UnetSpec,
    mut skips: Vec<usize>,
    mut channels: usize,
) -> Result<(Vec<UpLevel>, usize)> {
    let mut levels = Vec::new();
    let mut pyramid_channels = 0;
    let coarsest = spec.level_channels.len() - 1;
    for (level, &c_out) in spec.level_channels.iter().enumerate().rev() {
        let mut scope = root.at(format_args!("up.{level}"));
        let mut stages = Vec::new();
        for i in 0..=spec.num_res_blocks {
            // bug: as many skips were pushed as are popped: one for the input, one a block, one a halving.
            let skip = skips.pop().expect("a skip connection for each block");
            let mut style = spec.style.clone();
            if spec.groups.skip_alone_in_quarters && spec.attention_up[level] {
                style.groups[0] = Groups::Fixed((channels + skip / 4).min(32));
            }
            let mut module = scope.module(format_args!("block.{i}"));
            let block = block(&mut module, spec, &style, channels + skip, c_out)?;
            channels = c_out;
            let here = i == spec.num_res_blocks || spec.attention_after_every_up_block;
            let attention = match spec.attention_up[level] && here {
                true => Some(level_attention(&mut scope, spec, i, channels)?),
                false => None,
            };
            stages.push(Stage { block, attention });
        }
        let output = match spec.output_pyramid {
            OutputPyramid::None => None,
            OutputPyramid::Skip => {
                let groups = if level == 0 { spec.groups.mid } else { spec.groups.heads };
                let names = ("output.norm", "output.conv");
                let (norm, conv) = build_head(&mut scope, spec, groups, names, channels)?;
                Some(OutputMerge::Head(norm, conv))
            }
            OutputPyramid::Residual if level == coarsest => {
                let norm = group_norm(&mut scope.module("output.norm"), spec, spec.groups.mid, channels)?;
                let conv = Conv2d::conv3x3(&mut scope.module("output.conv"), channels, channels, 1.0);
                Some(OutputMerge::Head(norm, conv))
            }
            OutputPyramid::Residual => {
                let mut module = scope.module("output");
                let sizes = [pyramid_channels, channels];
                Some(OutputMerge::Residual(resample_with_conv(&mut module, spec, Direction::Up, sizes)))
            }
        };
        pyramid_channels = channels;
        let step = match level {
            0 => None,
            _ => Some(step(&mut scope, spec, Direction::Up, channels)?),
        };
        levels.push(UpLevel { stages, output, step });
    }
    Ok((levels, channels))
}

/// Norm and convolution to an image.
fn build_head(
    scope: &mut Scope<'_>,
    spec: &UnetSpec,
    groups: Groups,
    (norm, conv): (&str, &str),
    channels: usize,
) -> Result<(GroupNorm, Conv2d)> {
    let norm = group_norm(&mut scope.module(norm), spec, groups, channels)?;
    let conv = Conv2d::conv3x3(&mut scope.module(conv), channels, spec.num_channels, spec.style.init_scale);
    Ok((norm, conv))
}

fn group_norm(scope: &mut Scope<'_>, spec: &UnetSpec, groups: Groups, channels: usize) -> Result<GroupNorm> {
    GroupNorm::new(scope, channels, groups, spec.style.norm_eps)
}

fn block(
    scope: &mut Scope<'_>,
    spec: &UnetSpec,
    style: &BlockStyle,
    c_in: usize,
    c_out: usize,
) -> Result<ResnetBlock> {
    match spec.biggan {
        true => ResnetBlock::biggan(scope, style, c_in, c_out, None),
        false => ResnetBlock::ddpm(scope, style, c_in, c_out, false),
    }
}

fn attention(
    scope: &mut Scope<'_>,
    style: &BlockStyle,
    groups: Groups,
    channels: usize,
) -> Result<AttnBlock> {
    AttnBlock::new(scope, channels, groups, style.norm_eps, style.init_scale, style.output_scale)
}

fn level_attention(scope: &mut Scope<'_>, spec: &UnetSpec, i: usize, channels: usize) -> Result<AttnBlock> {
    let mut module = scope.module(format_args!("attention.{i}"));
    attention(&mut module, &spec.style, spec.groups.attention, channels)
}

fn step(scope: &mut Scope<'_>, spec: &UnetSpec, direction: Direction, channels: usize) -> Result<Step> {
    let name = if direction == Direction::Down { "downsample" } else { "upsample" };
    let mut module = scope.module(name);
    if spec.biggan {
        let resample = Some((direction, spec.filter.clone()));
        let block = ResnetBlock::biggan(&mut module, &spec.style, channels, channels, resample)?;
        return Ok(Step::Block(Box::new(block)));
    }
    Ok(Step::Resample(match spec.resamp_with_conv {
        true => resample_with_conv(&mut module, spec, direction, [channels; 2]),
        false => Resample::plain(direction, &spec.filter),
    }))
}

fn resample_with_conv(
    scope: &mut Scope<'_>,
    spec: &UnetSpec,
    direction: Direction,
    channels: [usize; 2],
) -> Resample {
    Resample::with_conv(scope, direction, &spec.filter, channels, spec.downsample_padding)
}
