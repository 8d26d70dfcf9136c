//! Operations across pixels and channels: convolutions, dense layers, resampling, attention.

use langevin::graph::Value;
use langevin::ops::attention::attention;
use langevin::ops::conv2d::{Conv2d, Epilogue, conv2d, linear};
use langevin::ops::group_norm::{GroupNorm, group_norm};
use langevin::ops::pool::{Window, mean_pool};
use langevin::ops::resample::{downsample_mean, upsample_nearest};
use langevin::ops::upfirdn2d::{
    FirKernel, conv_downsample_2d, downsample_2d, upfirdn2d, upsample_2d, upsample_conv_2d,
};

use crate::case::Case;
use crate::fields::Fields;
use crate::layer::{Layer, problem};

/// Appends the operation `op`, or says that it is none of these.
pub fn trace(
    layer: &mut Layer<'_>,
    op: &str,
    config: &Fields<'_>,
    case: &Case,
) -> Result<Option<Value>, String> {
    let traced = match op {
        "conv2d" => {
            let conv = geometry(config)?;
            let bias = config.bool("bias")?;
            sizes(config, &["in_ch", "out_ch", "kernel"])?;
            let (x, weight) = (layer.input("x")?, layer.parameter("weight")?);
            let bias = bias.then(|| layer.parameter("bias")).transpose()?;
            conv2d(&mut layer.graph, x, None, weight, conv, Epilogue { bias, ..Epilogue::default() })
        }
        "conv_mean_pool" => {
            let x = layer.input("x")?;
            let (weight, bias) = (layer.parameter("conv.weight")?, layer.parameter("conv.bias")?);
            let kernel = *layer.graph.shape(weight).dims().last().unwrap_or(&0);
            let (same, bias) = (Conv2d::same(kernel), Epilogue::bias(bias));
            conv2d(&mut layer.graph, x, None, weight, same, bias)
                .and_then(|y| mean_pool(&mut layer.graph, y, Window { size: 2, stride: 2, pad: 0 }))
        }
        "linear" => {
            let x = layer.input("x")?;
            let (weight, bias) = (layer.parameter("weight")?, layer.parameter("bias")?);
            linear(&mut layer.graph, x, weight, false, Epilogue::bias(bias))
        }
        "nin" => {
            sizes(config, &["in_ch", "out_ch"])?;
            let x = layer.input("x")?;
            let (weight, bias) = (layer.parameter("W")?, layer.parameter("b")?);
            linear(&mut layer.graph, x, weight, true, Epilogue::bias(bias))
        }
        "attnblockpp" => {
            let channels = config.usize("channels")?;
            let scale = if config.bool("skip_rescale")? { 0.5_f32.sqrt() } else { 1.0 };
            return block(layer, (channels / 4).min(32), scale).map(Some);
        }
        "attnblock" => {
            sizes(config, &["channels"])?;
            return block(layer, config.usize("groups")?, 1.0).map(Some);
        }
        "upfirdn2d" => {
            let kernel = case.tensor("in.kernel")?;
            let &[kh, kw] = kernel.shape.as_slice() else { return Err("in.kernel is no matrix".into()) };
            let kernel = FirKernel::new([kh, kw], &kernel.to_f32()).map_err(problem)?;
            let (up, down) = (config.usize("up")?, config.usize("down")?);
            let pad = config.i64s("pad")?;
            let &[before, after] = pad.as_slice() else { return Err(format!("config.pad is {pad:?}")) };
            let x = layer.input("x")?;
            upfirdn2d(&mut layer.graph, x, &kernel, up, down, [before, after, before, after])
        }
        "upsample_2d" | "downsample_2d" => {
            let (k, factor, x) = (config.f64s("fir_kernel")?, config.usize("factor")?, layer.input("x")?);
            let resample = if op == "upsample_2d" { upsample_2d } else { downsample_2d };
            resample(&mut layer.graph, x, &k, factor, 1.0)
        }
        "upsample_conv_2d" | "conv_downsample_2d" => {
            sizes(config, &["in_ch", "out_ch", "kernel"])?;
            let (k, factor) = (config.f64s("fir_kernel")?, config.usize("factor")?);
            let (x, weight) = (layer.input("x")?, layer.parameter("weight")?);
            let resample = if op == "upsample_conv_2d" { upsample_conv_2d } else { conv_downsample_2d };
            resample(&mut layer.graph, x, weight, &k, factor, Epilogue::default())
        }
        "naive_upsample_2d" | "nearest_2x" => {
            let x = layer.input("x")?;
            upsample_nearest(&mut layer.graph, x)
        }
        "naive_downsample_2d" => {
            let x = layer.input("x")?;
            downsample_mean(&mut layer.graph, x)
        }
        _ => return Ok(None),
    };
    traced.map(Some).map_err(problem)
}

/// Sizes that the tensors say as well.
fn sizes(config: &Fields<'_>, names: &[&str]) -> Result<(), String> {
    names.iter().try_for_each(|name| config.usize(name).map(drop))
}

fn geometry(config: &Fields<'_>) -> Result<Conv2d, String> {
    let (stride, dilation) = (config.usize("stride")?, config.usize("dilation")?);
    let pad = match config.str("padding_order")? {
        "symmetric" => [config.usize("padding")?; 4],
        "left,right,top,bottom" => match config.usizes("padding")?[..] {
            [left, right, top, bottom] => [top, bottom, left, right],
            ref other => return Err(format!("config.padding is {other:?}")),
        },
        other => return Err(format!("config.padding_order is {other:?}")),
    };
    Ok(Conv2d { stride, pad, dilation })
}

/// The authors' attention block: group norm, three projections, attention, a fourth projection, the residual.
fn block(layer: &mut Layer<'_>, groups: usize, scale: f32) -> Result<Value, String> {
    let x = layer.input("x")?;
    let (weight, bias) = (layer.parameter("GroupNorm_0.weight")?, layer.parameter("GroupNorm_0.bias")?);
    let options = GroupNorm { groups, norm_eps: 1e-6, silu: false };
    let h = group_norm(&mut layer.graph, x, weight, bias, options).map_err(problem)?;
    let nin = |layer: &mut Layer<'_>, i: usize, x: Value, residual: Option<Value>| {
        let weight = layer.parameter(&format!("NIN_{i}.W"))?;
        let bias = Some(layer.parameter(&format!("NIN_{i}.b"))?);
        let scale = if residual.is_some() { scale } else { 1.0 };
        let epilogue = Epilogue { bias, residual, scale, ..Epilogue::default() };
        linear(&mut layer.graph, x, weight, true, epilogue).map_err(problem)
    };
    let (q, k, v) = (nin(layer, 0, h, None)?, nin(layer, 1, h, None)?, nin(layer, 2, h, None)?);
    let y = attention(&mut layer.graph, q, k, v).map_err(problem)?;
    nin(layer, 3, y, Some(x))
}
