//! Bits per dimension with a recorded probe; drift and divergence at fixed points.

use langevin::graph::Shape;
use langevin::likelihood::likelihood;
use langevin::ops::sampler_step::Norm;
use langevin::sampling::flow::FlowOptions;
use langevin::sampling::ode::OdeDraft;
use langevin::sampling::runge_kutta::Tolerance;
use langevin::sampling::solvers::RK45;
use langevin::score::ModelScore;
use langevin::sde::TimeConditioning;

use crate::case::{Case, Tensor};
use crate::check::{self, Outputs, Report};
use crate::context::Context;
use crate::network::problem;
use crate::samplers::{Sampling, nhwc};

/// Runs a case of `likelihood/`.
pub fn run(case: &Case, context: &Context) -> Result<Report, String> {
    let config = case.config()?;
    let run = Sampling::new(case, context, &config)?;
    let method = config.str("method")?;
    if method != "RK45" {
        return Err(format!("unknown method {method:?}"));
    }
    let kind = config.str("hutchinson_type")?;
    if !["Gaussian", "Rademacher"].contains(&kind) {
        return Err(format!("unknown hutchinson_type {kind:?}"));
    }
    let tolerance = Tolerance::new(config.f64("rtol")?, config.f64("atol")?).map_err(problem)?;
    let eps = config.f64("eps")?;
    config.finish()?;
    let data = case.tensor("in.data")?;
    let shape = nhwc(&data.shape)?;
    let gpu = context.gpu()?;
    let model = run.model();
    let score = ModelScore { model, unscaled: run.unscaled() };
    let draft = OdeDraft::new(gpu, &score, shape.clone(), true, crate::context::choice()).map_err(problem)?;
    let time = TimeConditioning::Continuous;
    let mut ode = draft.build(gpu, run.resources(), &run.sde, time).map_err(problem)?;
    let image = |t: &Tensor| t.permute(&[0, 2, 3, 1]).to_f32();
    ode.set_probe(&image(&case.tensor("in.epsilon")?)).map_err(problem)?;
    let mut outputs = Outputs::new();
    let times = case.tensor("fixed.t")?;
    let points = case.tensor("fixed.x")?;
    let size = shape.elements();
    for (i, &t) in times.data.iter().enumerate() {
        let point = Tensor::new(data.shape.clone(), points.data[i * size..(i + 1) * size].to_vec());
        ode.set(&image(&point)).map_err(problem)?;
        let (drift, divergence) = ode.drift(t).map_err(problem)?;
        let divergence = divergence.ok_or("no divergence")?;
        outputs.insert(format!("fixed.{i}.drift"), back(&drift, &shape));
        outputs.insert(format!("fixed.{i}.div"), Tensor::from_f32([divergence.len()], &divergence));
    }
    ode.set(&image(&data)).map_err(problem)?;
    // The authors' error norm is the batch's.
    let options = FlowOptions { t_eps: eps, tolerance, norm: Norm::Batch, method: &RK45 };
    let result = likelihood(&mut ode, options, run.centered, &mut |_| true).map_err(problem)?;
    let result = result.ok_or("stopped")?;
    let each = |values: Vec<f64>| Tensor::new([values.len()], values);
    outputs.insert("out.bpd", each(result.bits_per_dim));
    outputs.insert("out.delta_logp", each(result.delta_logp));
    outputs.insert("out.prior_logp", each(result.prior_logp));
    outputs.insert("out.z", back(&result.z, &shape));
    check::check(case, &outputs)
}

fn back(x: &[f32], shape: &Shape) -> Tensor {
    Tensor::from_f32(shape.dims(), x).permute(&[0, 3, 1, 2])
}
