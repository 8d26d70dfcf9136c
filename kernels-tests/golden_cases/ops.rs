//! Single operations.

use langevin::graph::{Graph, Value};
use langevin::ops::activation::{Activation, activation};
use langevin::ops::bilinear::bilinear;
use langevin::ops::embedding::{gaussian_fourier, positional};
use langevin::ops::gather::gather;
use langevin::ops::group_norm::{GroupNorm, group_norm};
use langevin::ops::instance_norm::{self, instance_norm, instance_norm_plus, variance_norm};
use langevin::ops::pool::{Window, max_pool, mean_pool};
use langevin::ops::softmax::softmax;

use crate::case::Case;
use crate::check::{Report, check};
use crate::context::Context;
use crate::fields::Fields;
use crate::layer::{Layer, problem};
use crate::{optimizer, spatial};

/// Runs a case of `ops/`: `config.op` names the operation.
pub fn run(case: &Case, context: &Context) -> Result<Report, String> {
    let config = case.config()?;
    let op = config.str("op")?;
    match op {
        "adam" => return optimizer::adam(case, &config, context),
        "ema" => return optimizer::ema(case, &config, context),
        _ => {}
    }
    let mut layer = Layer::new(case);
    let y = match spatial::trace(&mut layer, op, &config, case)? {
        Some(y) => y,
        None => trace(&mut layer, op, &config)?,
    };
    config.finish()?;
    check(case, &layer.finish(context, y)?)
}

/// Appends the operation `op`.
fn trace(layer: &mut Layer<'_>, op: &str, config: &Fields<'_>) -> Result<Value, String> {
    match op {
        "swish" => activate(layer, Activation::Silu),
        "elu" => activate(layer, Activation::Elu),
        "relu" => activate(layer, Activation::Relu),
        "lrelu02" => activate(layer, Activation::LeakyRelu),
        "groupnorm" => {
            let options = GroupNorm {
                groups: config.usize("groups")?,
                norm_eps: config.f64("eps")? as f32,
                silu: config.bool("swish")?,
            };
            config.usize("channels")?;
            let (x, weight, bias) = (layer.input("x")?, layer.parameter("weight")?, layer.parameter("bias")?);
            group_norm(&mut layer.graph, x, weight, bias, options).map_err(problem)
        }
        "instancenorm" => {
            config.usize("channels")?;
            let x = layer.input("x")?;
            instance_norm(&mut layer.graph, x, instance_norm::NORM_EPS).map_err(problem)
        }
        "instancenorm_plus" => {
            config.usize("channels")?;
            let x = layer.input("x")?;
            let [gamma, alpha, beta] = ["gamma", "alpha", "beta"].map(|name| layer.parameter(name));
            instance_norm_plus(&mut layer.graph, x, gamma?, alpha?, Some(beta?)).map_err(problem)
        }
        "cond_instancenorm_plus" | "cond_instancenorm_plus_nobias" => {
            config.usize("channels")?;
            config.usize("classes")?;
            let (x, labels) = (layer.input("x")?, layer.input("y")?);
            let table = layer.parameter("embed.weight")?;
            let rows = gather(&mut layer.graph, table, labels).map_err(problem)?;
            instance_norm::conditional_instance_norm_plus(&mut layer.graph, x, rows).map_err(problem)
        }
        "variancenorm" => {
            config.usize("channels")?;
            let (x, alpha) = (layer.input("x")?, layer.parameter("alpha")?);
            variance_norm(&mut layer.graph, x, alpha).map_err(problem)
        }
        "softmax" => {
            let x = layer.input("x")?;
            softmax(&mut layer.graph, x).map_err(problem)
        }
        "avg_pool_2x2" => pool(layer, mean_pool, Window { size: 2, stride: 2, pad: 0 }),
        "avg_pool_5x5_s1_p2" => pool(layer, mean_pool, Window { size: 5, stride: 1, pad: 2 }),
        "max_pool_5x5_s1_p2" => pool(layer, max_pool, Window { size: 5, stride: 1, pad: 2 }),
        "bilinear_align_corners" | "bilinear_same_size" => {
            let (x, to) = (layer.input("x")?, layer.expected_size()?);
            bilinear(&mut layer.graph, x, to).map_err(problem)
        }
        "fourier" => {
            config.usize("size")?;
            config.f64("scale")?;
            let (x, weight) = (layer.input("x")?, layer.parameter("W")?);
            gaussian_fourier(&mut layer.graph, x, weight).map_err(problem)
        }
        "posemb" => {
            let t = layer.input("t")?;
            positional(&mut layer.graph, t, config.usize("dim")?).map_err(problem)
        }
        _ => Err(format!("unknown op {op:?}")),
    }
}

fn activate(layer: &mut Layer<'_>, f: Activation) -> Result<Value, String> {
    let x = layer.input("x")?;
    activation(&mut layer.graph, x, f).map_err(problem)
}

fn pool(
    layer: &mut Layer<'_>,
    op: fn(&mut Graph, Value, Window) -> langevin::Result<Value>,
    window: Window,
) -> Result<Value, String> {
    let x = layer.input("x")?;
    op(&mut layer.graph, x, window).map_err(problem)
}
