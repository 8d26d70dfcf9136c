//! Residual blocks, resamplings and merges of the U-Nets, and the blocks of RefineNet.

use langevin::graph::Value;
use langevin::models::names::torch_names;
use langevin::nn::layers::{GroupNorm, Groups, activate};
use langevin::nn::norm::NormKind;
use langevin::nn::refine::{CrpBlock, MsfBlock, RcuBlock, RefineBlock, RefineStyle, ResidualBlock};
use langevin::nn::resample::{Combine, Direction, Filter, Merge, Resample};
use langevin::nn::residual::{BlockStyle, ResnetBlock};
use langevin::nn::time::TimeEmbedding;
use langevin::nn::trace::WEIGHTS;
use langevin::nn::{Manifest, Scope, Trace};
use langevin::ops::activation::Activation;

use crate::case::Case;
use crate::check::{Report, check};
use crate::context::Context;
use crate::fields::Fields;
use crate::layer::{Layer, problem};

/// Traces a block on its inputs.
type Forward = Box<dyn Fn(&mut Trace<'_>, &[Value]) -> langevin::Result<Value>>;

/// A block and the names of its inputs.
struct Block {
    inputs: &'static [&'static str],
    forward: Forward,
}

impl Block {
    fn new(
        inputs: &'static [&'static str],
        forward: impl Fn(&mut Trace<'_>, &[Value]) -> langevin::Result<Value> + 'static,
    ) -> Self {
        Self { inputs, forward: Box::new(forward) }
    }
}

/// The names of the U-Nets' parameters are those of the first module of a network.
const MODULE: &str = "all_modules.0.";

/// Runs a case of `blocks/`: `config.block` names the block.
pub fn run(case: &Case, context: &Context) -> Result<Report, String> {
    let config = case.config()?;
    let name = config.str("block")?;
    let mut manifest = Manifest::default();
    let block = match name.starts_with("ncsn_") || matches!(name, "MSFBlock" | "RefineBlock") {
        true => refine(name, &config, case, &mut manifest.root())?,
        false => unet(name, &config, &mut manifest.root().module("block"))?,
    };
    config.finish()?;
    let mut layer = Layer::new(case);
    let inputs = block.inputs.iter().map(|name| layer.input(name)).collect::<Result<Vec<_>, _>>()?;
    for (theirs, param) in torch_names(&manifest).map_err(problem)?.iter().zip(manifest.params()) {
        layer.parameter_as(&param.name, theirs.strip_prefix(MODULE).unwrap_or(theirs))?;
    }
    let y = (block.forward)(&mut Trace::new(&mut layer.graph, WEIGHTS), &inputs).map_err(problem)?;
    check(case, &layer.finish(context, y)?)
}

fn unet(name: &str, config: &Fields<'_>, scope: &mut Scope<'_>) -> Result<Block, String> {
    match name {
        "ResnetBlockDDPM" => {
            let style = style(config, Groups::Fixed(config.usize("groups")?), false)?;
            let conv_shortcut = config.bool("conv_shortcut")?;
            let [c_in, c_out] = channels(config)?;
            Ok(residual(ResnetBlock::ddpm(scope, &style, c_in, c_out, conv_shortcut).map_err(problem)?))
        }
        "ResnetBlockDDPMpp" => {
            let style = style(config, Groups::Quarter, config.bool("skip_rescale")?)?;
            let conv_shortcut = config.bool("conv_shortcut")?;
            let [c_in, c_out] = channels(config)?;
            Ok(residual(ResnetBlock::ddpm(scope, &style, c_in, c_out, conv_shortcut).map_err(problem)?))
        }
        "ResnetBlockBigGANpp" => {
            let style = style(config, Groups::Quarter, config.bool("skip_rescale")?)?;
            let filter = filter(config)?;
            let resample = match (config.bool("up")?, config.bool("down")?) {
                (false, false) => None,
                (true, false) => Some((Direction::Up, filter)),
                (false, true) => Some((Direction::Down, filter)),
                (true, true) => return Err("up and down at once".into()),
            };
            let [c_in, c_out] = channels(config)?;
            Ok(residual(ResnetBlock::biggan(scope, &style, c_in, c_out, resample).map_err(problem)?))
        }
        "Upsample" | "Downsample" => {
            let direction = if name == "Upsample" { Direction::Up } else { Direction::Down };
            let (filter, channels) = (filter(config)?, channels(config)?);
            let resample = match config.bool("with_conv")? {
                true => Resample::with_conv(scope, direction, &filter, channels, Resample::PADDING),
                false => Resample::plain(direction, &filter),
            };
            Ok(Block::new(&["x"], move |trace, x| resample.forward(trace, x[0])))
        }
        "Combine" => {
            let merge = match config.str("method")? {
                "cat" => Merge::Cat,
                "sum" => Merge::Sum,
                other => return Err(format!("unknown method {other:?}")),
            };
            let combine = Combine::new(scope, config.usize("dim1")?, config.usize("dim2")?, merge);
            Ok(Block::new(&["x", "y"], move |trace, x| combine.forward(trace, x[0], x[1])))
        }
        _ => Err(format!("unknown block {name:?}")),
    }
}

fn channels(config: &Fields<'_>) -> Result<[usize; 2], String> {
    Ok([config.usize("in_ch")?, config.usize("out_ch")?])
}

fn filter(config: &Fields<'_>) -> Result<Filter, String> {
    let taps = config.f64s("fir_kernel")?;
    Ok(if config.bool("fir")? { Filter::Fir(taps) } else { Filter::Naive })
}

fn style(config: &Fields<'_>, groups: Groups, skip_rescale: bool) -> Result<BlockStyle, String> {
    let temb_channels =
        if config.value("temb_dim")?.is_null() { None } else { Some(config.usize("temb_dim")?) };
    Ok(BlockStyle {
        groups: [groups; 2],
        norm_eps: GroupNorm::EPS,
        activation: Activation::Silu,
        dropout: 0.0,
        init_scale: 0.0,
        output_scale: if skip_rescale { std::f64::consts::FRAC_1_SQRT_2 } else { 1.0 },
        temb_channels,
    })
}

fn residual(block: ResnetBlock) -> Block {
    let inputs: &[&str] = if block.dense_0.is_some() { &["x", "temb"] } else { &["x"] };
    Block::new(inputs, move |trace, inputs| {
        // A network activates its embedding once for all blocks.
        let temb = inputs.get(1).map(|&temb| activate(trace, temb, block.activation)).transpose()?;
        block.forward(trace, inputs[0], temb.map(TimeEmbedding::from).as_ref())
    })
}

/// RefineNet's parts as NCSNv2 has them.
const STYLE: RefineStyle =
    RefineStyle { activation: Activation::Elu, norm: NormKind::InstancePlus, conditional: false };

/// Units in front of a refine block, stages of a unit, and stages of its pooling, in all the authors' networks.
const TWO: usize = 2;

fn refine(name: &str, config: &Fields<'_>, case: &Case, scope: &mut Scope<'_>) -> Result<Block, String> {
    match name {
        "ncsn_rcu" => {
            let block = RcuBlock::new(scope, &STYLE, config.usize("channels")?, TWO, TWO);
            Ok(Block::new(&["x"], move |trace, x| block.forward(trace, x[0], None)))
        }
        "ncsn_crp" | "ncsn_crp_avg" => {
            let mut block = CrpBlock::new(scope, &STYLE, config.usize("channels")?, TWO);
            block.average = name == "ncsn_crp_avg";
            Ok(Block::new(&["x"], move |trace, x| block.forward(trace, x[0], None)))
        }
        "MSFBlock" => {
            let (c_in, c_out) = (config.usizes("in_planes")?, config.usize("features")?);
            let size = size(config)?;
            let block = MsfBlock::new(scope, &STYLE, &c_in, c_out);
            Ok(Block::new(many(c_in.len())?, move |trace, xs| block.forward(trace, xs, size, None)))
        }
        "RefineBlock" => {
            let (c_in, c_out) = (config.usizes("in_planes")?, config.usize("features")?);
            let (size, first) = (size(config)?, case.tensor("in.a")?.shape);
            if first[2..] != size {
                return Err(format!("out_shape {size:?} is not the size of the first input, {first:?}"));
            }
            let block = RefineBlock::new(scope, &STYLE, &c_in, c_out, config.bool("end")?);
            Ok(Block::new(many(c_in.len())?, move |trace, xs| block.forward(trace, xs, None)))
        }
        _ => {
            let kind = name.strip_prefix("ncsn_res_").ok_or_else(|| format!("unknown block {name:?}"))?;
            let (mut down, mut dilation) = (false, 1);
            for part in kind.split('_') {
                match (part, part.strip_prefix("dil").and_then(|d| d.parse().ok())) {
                    (_, Some(d)) => dilation = d,
                    ("down", _) => down = true,
                    // Whether it widens, the shape of its result says.
                    ("plain" | "widen", _) => {}
                    _ => return Err(format!("unknown block {name:?}")),
                }
            }
            let c_out = case.tensor("out.y")?.shape[1];
            let block = ResidualBlock::new(scope, &STYLE, config.usize("channels")?, c_out, down, dilation);
            Ok(Block::new(&["x"], move |trace, x| block.forward(trace, x[0], None)))
        }
    }
}

fn size(config: &Fields<'_>) -> Result<[usize; 2], String> {
    let size = config.usizes("out_shape")?;
    size.clone().try_into().map_err(|_| format!("out_shape {size:?} is no height and width"))
}

/// The names of so many inputs.
fn many(count: usize) -> Result<&'static [&'static str], String> {
    const NAMES: &[&str] = &["a", "b", "c", "d"];
    NAMES.get(..count).ok_or_else(|| format!("{count} inputs"))
}
