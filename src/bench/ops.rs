//! Ops and blocks as workloads.

use super::case::Workload;
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::nn::layers::{GroupNorm, Groups};
use crate::nn::resample::{Direction, Filter};
use crate::nn::residual::{BlockStyle, ResnetBlock};
use crate::nn::trace::WEIGHTS;
use crate::nn::{Manifest, Trace, attention::AttnBlock};
use crate::ops::activation::Activation;
use crate::ops::attention::attention;
use crate::ops::conv2d::{Conv2d, Epilogue, conv2d};
use crate::ops::group_norm::{self, group_norm};
use crate::ops::upfirdn2d::{downsample_2d, upsample_2d};

/// The filter of the paper's networks.
const FIR: [f64; 4] = [1.0, 3.0, 3.0, 1.0];
/// Channels of the time embedding of the paper's networks.
const TEMB: usize = 512;

/// What is asked of a convolution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Side {
    Forward,
    GradX,
    GradWeight,
}

/// A convolution `c_in → c_out` at `size`², kernel `k`; forward with a bias, as every layer has one.
pub(super) fn conv([c_in, c_out, size]: [usize; 3], k: usize, side: Side, n: usize) -> Result<Workload> {
    let mut g = Graph::new();
    let x = g.input("x", [n, size, size, c_in]);
    let weight = g.parameter(WEIGHTS, "weight", [c_out, c_in, k, k])?;
    let epilogue = match side {
        Side::Forward => Epilogue::bias(g.parameter(WEIGHTS, "bias", [c_out])?),
        _ => Epilogue::default(),
    };
    let y = conv2d(&mut g, x, None, weight, Conv2d::same(k), epilogue)?;
    if side == Side::Forward {
        return Ok(Workload::new(g, vec![y]).filled(x).weighted());
    }
    let grad_y = g.input("grad_y", [n, size, size, c_out]);
    let by = if side == Side::GradX { x } else { weight };
    let outputs = g.backward(&[(y, grad_y)], &[by])?.into_iter().flatten().collect();
    let workload = Workload::new(g, outputs).filled(x).filled(grad_y).weighted();
    Ok(Workload { per_image: side == Side::GradX, ..workload })
}

/// Group norm with SiLU.
pub(super) fn norm_silu([c, size]: [usize; 2], n: usize) -> Result<Workload> {
    let mut g = Graph::new();
    let x = g.input("x", [n, size, size, c]);
    let weight = g.parameter(WEIGHTS, "weight", [c])?;
    let bias = g.parameter(WEIGHTS, "bias", [c])?;
    let options =
        group_norm::GroupNorm { groups: Groups::Quarter.of(c), norm_eps: GroupNorm::EPS as f32, silu: true };
    let y = group_norm(&mut g, x, weight, bias, options)?;
    Ok(Workload::new(g, vec![y]).filled(x).weighted())
}

/// Self-attention over the pixels, without its projections.
pub(super) fn attend([c, size]: [usize; 2], n: usize) -> Result<Workload> {
    let mut g = Graph::new();
    let [q, k, v] = ["q", "k", "v"].map(|name| g.input(name, [n, size, size, c]));
    let y = attention(&mut g, q, k, v)?;
    Ok(Workload::new(g, vec![y]).filled(q).filled(k).filled(v))
}

/// Half or twice the size by the filter (1, 3, 3, 1).
pub(super) fn resampled([c, size]: [usize; 2], direction: Direction, n: usize) -> Result<Workload> {
    let mut g = Graph::new();
    let x = g.input("x", [n, size, size, c]);
    let y = match direction {
        Direction::Down => downsample_2d(&mut g, x, &FIR, 2, 1.0)?,
        Direction::Up => upsample_2d(&mut g, x, &FIR, 2, 1.0)?,
    };
    Ok(Workload::new(g, vec![y]).filled(x))
}

/// A residual block of NCSN++, which keeps the channels.
pub(super) fn residual([c, size]: [usize; 2], resample: Option<Direction>, n: usize) -> Result<Workload> {
    let style = BlockStyle {
        groups: [Groups::Quarter; 2],
        norm_eps: GroupNorm::EPS,
        activation: Activation::Silu,
        dropout: 0.0,
        // The paper's 0 would hide mistakes of the second convolution.
        init_scale: 1.0,
        output_scale: std::f64::consts::FRAC_1_SQRT_2,
        temb_channels: Some(TEMB),
    };
    let mut manifest = Manifest::default();
    let resample = resample.map(|direction| (direction, Filter::Fir(FIR.to_vec())));
    let block = ResnetBlock::biggan(&mut manifest.root().at("block"), &style, c, c, resample)?;
    block_workload(manifest, [n, size, size, c], |trace, x, temb| block.forward(trace, x, Some(&temb.into())))
}

/// An attention block of NCSN++.
pub(super) fn attention_block([c, size]: [usize; 2], n: usize) -> Result<Workload> {
    let mut manifest = Manifest::default();
    let mut root = manifest.root();
    let scale = std::f64::consts::FRAC_1_SQRT_2;
    let block = AttnBlock::new(&mut root.at("block"), c, Groups::Quarter, GroupNorm::EPS, 1.0, scale)?;
    block_workload(manifest, [n, size, size, c], |trace, x, _| block.forward(trace, x))
}

fn block_workload(
    manifest: Manifest,
    shape: [usize; 4],
    forward: impl FnOnce(&mut Trace<'_>, Value, Value) -> Result<Value>,
) -> Result<Workload> {
    let mut g = Graph::new();
    let x = g.input("x", shape);
    let temb = g.input("temb", [shape[0], TEMB]);
    let y = forward(&mut Trace::new(&mut g, WEIGHTS), x, temb)?;
    Ok(Workload::new(g, vec![y]).filled(x).filled(temb).initialised(&manifest))
}
