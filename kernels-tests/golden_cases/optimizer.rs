//! Steps of Adam, and of the moving average.

use std::sync::Arc;

use langevin::graph::{DType, Draft, Graph, ParameterLayout, ParameterSet, Plan, Resources};
use langevin::ops::adam::{Adam, COUNTERS, Segment, adam as append_adam};
use langevin::ops::clip::global_norm;
use langevin::ops::ema::ema as append_ema;

use crate::case::{Case, Tensor};
use crate::check::{Outputs, Report, check};
use crate::context::{Context, options};
use crate::fields::Fields;
use crate::layer::problem;

/// Adam over as many steps as the case has gradients for; parameters and averages after each, moments after the last.
pub fn adam(case: &Case, config: &Fields<'_>, context: &Context) -> Result<Report, String> {
    let settings = Adam {
        lr: config.f64("lr")?,
        beta1: config.f64("beta1")?,
        beta2: config.f64("beta2")?,
        eps: config.f64("eps")?,
        weight_decay: config.f64("weight_decay")?,
        warmup: config.usize("warmup")? as u64,
        grad_clip: config.f64("grad_clip")?,
        ema_rate: config.f64("ema_decay")?,
    };
    config.finish()?;
    let initial = case.tensors_under("param0.")?;
    let outputs = steps(case, &settings, &initial, context)?;
    check(case, &outputs)
}

fn steps(
    case: &Case,
    settings: &Adam,
    initial: &[(String, Tensor)],
    context: &Context,
) -> Result<Outputs, String> {
    let gpu = context.gpu()?;
    let shapes = initial.iter().map(|(name, t)| (name.as_str(), t.shape.clone().into()));
    let layout = ParameterLayout::new(shapes, gpu.capabilities().max_binding).map_err(problem)?;
    let layout = Arc::new(layout);
    let set = |name: &str| ParameterSet::zeros(gpu, name, &layout).map_err(problem);
    let sets = [set("weights")?, set("m")?, set("v")?, set("ema")?, set("grads")?];
    let [weights, m, v, average, grads] = &sets;
    for (name, value) in initial {
        weights.write(name, &value.to_f32()).map_err(problem)?;
        average.write(name, &value.to_f32()).map_err(problem)?;
    }
    let mut graph = Graph::new();
    let counters = graph.state("counters", [COUNTERS], DType::U32);
    let mut segments = Vec::new();
    for (i, &bytes) in layout.segments().iter().enumerate() {
        let mut of = |set: &str| graph.segment(set, i, bytes as usize / 4);
        let (param, m, v, shadow) = (of("weights"), of("m"), of("v"), Some(of("ema")));
        segments.push(Segment { param, m, v, shadow, grad: of("grads") });
    }
    let gradients: Vec<_> = segments.iter().map(|s| s.grad).collect();
    let norm = global_norm(&mut graph, &gradients).map_err(problem)?;
    append_adam(&mut graph, settings, &segments, norm, counters).map_err(problem)?;
    let targets = [norm.norm];
    let draft = Draft::new(&graph, &targets, gpu.capabilities(), options()).map_err(problem)?;
    let names = ["weights", "m", "v", "ema", "grads"];
    let resources = names.iter().zip(&sets).fold(Resources::new(), |r, (name, set)| r.set(name, set));
    let mut plan = draft.build(gpu, resources).map_err(problem)?;

    let mut outputs = Outputs::new();
    let mut keep = |name: String, set: &ParameterSet, tensor: &str, shape: &[usize]| -> Result<(), String> {
        outputs.insert(name, Tensor::from_f32(shape, &set.read(tensor).map_err(problem)?));
        Ok(())
    };
    let mut norms = Vec::new();
    for step in 0.. {
        let gradients = case.tensors_under(&format!("grad{step}."))?;
        if gradients.is_empty() {
            break;
        }
        for (name, value) in &gradients {
            grads.write(name, &value.to_f32()).map_err(problem)?;
        }
        plan.run().map_err(problem)?;
        norms.push(plan.read(norm.norm).map_err(problem)?);
        for (name, value) in initial {
            keep(format!("step{step}.param.{name}"), weights, name, &value.shape)?;
            keep(format!("step{step}.ema.{name}"), average, name, &value.shape)?;
        }
    }
    for (name, value) in initial {
        keep(format!("exp_avg.{name}"), m, name, &value.shape)?;
        keep(format!("exp_avg_sq.{name}"), v, name, &value.shape)?;
    }
    for (step, norm) in norms.iter().enumerate() {
        outputs.insert(format!("gnorm{step}"), Tensor::from_f32([1], norm));
    }
    Ok(outputs)
}

/// Moving averages of a sequence of parameters, at every decay that the case names, with and without warm-up.
pub fn ema(case: &Case, config: &Fields<'_>, context: &Context) -> Result<Report, String> {
    config.finish()?;
    let params = case.tensor("params")?;
    let mut outputs = Outputs::new();
    for name in case.check()?.keys() {
        let rest = name.strip_prefix("ema.decay").ok_or_else(|| format!("unknown output {name:?}"))?;
        let (rate, warm) = match (rest.strip_suffix(".num_updates"), rest.strip_suffix(".fixed")) {
            (Some(rate), _) => (rate, true),
            (_, Some(rate)) => (rate, false),
            _ => return Err(format!("unknown output {name:?}")),
        };
        let rate = rate.parse().map_err(|_| format!("unknown decay in {name:?}"))?;
        outputs.insert(name.clone(), averages(&params, rate, warm, context)?);
    }
    check(case, &outputs)
}

/// The average after each update; the first row of `params` is where it begins.
fn averages(params: &Tensor, rate: f64, warm: bool, context: &Context) -> Result<Tensor, String> {
    let gpu = context.gpu()?;
    let &[rows, size] = params.shape.as_slice() else { return Err("params is no matrix".into()) };
    let mut graph = Graph::new();
    let shadow = graph.state("shadow", [size], DType::F32);
    let (x, updates) = (graph.input("x", [size]), graph.input_u32("updates", [1]));
    append_ema(&mut graph, shadow, x, rate, warm.then_some(updates)).map_err(problem)?;
    let draft = Draft::new(&graph, &[shadow], gpu.capabilities(), options()).map_err(problem)?;
    let mut plan: Plan = draft.build(gpu, Resources::new()).map_err(problem)?;
    let values = params.to_f32();
    let row = |i: usize| &values[i * size..(i + 1) * size];
    plan.write(shadow, row(0)).map_err(problem)?;
    let mut result = Vec::new();
    for n in 1..rows {
        plan.write(x, row(n)).map_err(problem)?;
        if warm {
            plan.write_u32(updates, &[n as u32]).map_err(problem)?;
        }
        plan.run().map_err(problem)?;
        result.extend(plan.read(shadow).map_err(problem)?);
    }
    Ok(Tensor::from_f32([rows - 1, size], &result))
}
