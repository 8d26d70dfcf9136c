//! Predictor-corrector runs, inpainting, colourisation, and the ODE, with every random draw as recorded.

use std::sync::Arc;

use langevin::graph::{Draft, DraftOptions, Graph, Resources, Shape, Value};
use langevin::inverse::{KnownData, XMean};
use langevin::ops::sampler_step::Norm;
use langevin::sampling::coefficients::{PcOptions, PcTable};
use langevin::sampling::draws::Draws;
use langevin::sampling::flow::{FlowOptions, decode};
use langevin::sampling::ode::OdeDraft;
use langevin::sampling::pc::{Constraint, PcSetting, PcStep, draws_per_step};
use langevin::sampling::runge_kutta::Tolerance;
use langevin::sampling::solvers::RK45;
use langevin::score::{ModelScore, NetworkModel};
use langevin::sde::{self, Sde, TimeConditioning};

use crate::case::{Case, Tensor};
use crate::check::{self, Outputs, Report};
use crate::context::Context;
use crate::fields::Fields;
use crate::network::{Loaded, problem};
use crate::runge_kutta;

const TO_NHWC: [usize; 4] = [0, 2, 3, 1];
const STACK_TO_NHWC: [usize; 5] = [0, 1, 3, 4, 2];
const STACK_TO_NCHW: [usize; 5] = [0, 1, 4, 2, 3];

/// Runs a case of `samplers/`: `config.kind` names the sampler; the ODE solver alone has no `config`.
pub fn run(case: &Case, context: &Context) -> Result<Report, String> {
    if case.optional_key("runs").is_some() {
        return runge_kutta::run(case);
    }
    let config = case.config()?;
    let run = Sampling::new(case, context, &config)?;
    let outputs = match config.str("kind")? {
        "pc" => run.pc(&config, None)?,
        "inpaint" => run.pc(&config, Some(["in.data", "in.mask"]))?,
        "colorize" => run.pc(&config, Some(["in.gray", ""]))?,
        "ode" => run.ode(&config)?,
        kind => return Err(format!("unknown kind {kind:?}")),
    };
    config.finish()?;
    check::check(case, &outputs)
}

/// A case's model, SDE and scale.
pub struct Sampling<'a> {
    case: &'a Case,
    context: &'a Context,
    loaded: Loaded,
    pub sde: Arc<dyn Sde>,
    pub centered: bool,
}

impl<'a> Sampling<'a> {
    /// Reads `config.model`, `config.sde` and `config.centered`; tensors `override.<name>` of the case replace the model's.
    pub fn new(case: &'a Case, context: &'a Context, config: &Fields) -> Result<Self, String> {
        let (name, parameters) = sde_parameters(config)?;
        // What a case says in words is of no use here.
        config.optional("model_note");
        let loaded = Loaded::shared(case, context, config.str("model")?)?;
        let sde = sde::by_name(&name, &parameters).map_err(problem)?;
        Ok(Self { case, context, loaded, sde, centered: config.bool("centered")? })
    }

    pub fn model(&self) -> NetworkModel<'_> {
        NetworkModel::new(self.loaded.network.as_ref())
    }

    pub fn resources(&self) -> Resources {
        self.loaded.weights.resources()
    }

    pub fn time(&self, config: &Fields) -> Result<TimeConditioning, String> {
        Ok(match config.bool("continuous")? {
            true => TimeConditioning::Continuous,
            false => TimeConditioning::Discrete { levels: self.sde.n() },
        })
    }

    /// A model's output is the score itself for VE.
    pub fn unscaled(&self) -> bool {
        self.sde.name() == "vesde"
    }

    fn sample(&self, x: &[f32], shape: &Shape) -> Tensor {
        let unscale = |v: f32| if self.centered { (f64::from(v) + 1.0) / 2.0 } else { f64::from(v) };
        Tensor::new(shape.dims(), x.iter().map(|&v| unscale(v)).collect()).permute(&[0, 3, 1, 2])
    }

    fn pc(&self, config: &Fields, known: Option<[&str; 2]>) -> Result<Outputs, String> {
        let shape = nhwc(&config.usizes("shape")?)?;
        let options = PcOptions {
            sde: self.sde.clone(),
            time: self.time(config)?,
            predictor: config.str("predictor")?.parse().map_err(problem)?,
            corrector: config.str("corrector")?.parse().map_err(problem)?,
            snr: config.f64("snr")?,
            n_steps_each: config.usize("n_steps_each")?,
            probability_flow: config.bool("probability_flow")?,
            denoise: config.bool("denoise")?,
            t_eps: config.f64("eps")?,
        };
        let table = PcTable::new(&options).map_err(problem)?;
        let noise = self.case.tensor("noise")?.permute(&STACK_TO_NHWC);
        let gpu = self.context.gpu()?;
        let mut graph = Graph::new();
        let mut written: Vec<(Value, Vec<f32>)> = Vec::new();
        let mut image = |graph: &mut Graph, name: &str| -> Result<Value, String> {
            let tensor = self.case.tensor(name)?.permute(&TO_NHWC);
            let value = graph.input(name, tensor.shape.clone());
            written.push((value, tensor.to_f32()));
            Ok(value)
        };
        let constraint = match known {
            None => None,
            Some([data, ""]) => {
                let data = image(&mut graph, data)?;
                Some(KnownData::colorize(&mut graph, data, XMean::Reference).map_err(problem)?)
            }
            Some([data, mask]) => {
                let (data, mask) = (image(&mut graph, data)?, image(&mut graph, mask)?);
                Some(KnownData::inpaint(&graph, data, mask, XMean::Reference).map_err(problem)?)
            }
        };
        let imposed = constraint.as_ref().map(|c| c as &dyn Constraint);
        let per_step = draws_per_step(&table, imposed);
        let expected = 1 + per_step * table.rows.len();
        if noise.shape[0] != expected {
            return Err(format!("{} draws are recorded, the sampler takes {expected}", noise.shape[0]));
        }
        let coefficients = PcStep::table(&mut graph, table.rows.len());
        let stack = graph.input("noise", noise.shape.clone());
        let draws = Draws::recorded(stack, coefficients.counter, per_step);
        let model = self.model();
        let score = ModelScore { model, unscaled: self.unscaled() };
        let setting =
            PcSetting { score: &score, pc: &table, norm: Norm::Batch, counted: None, constraint: imposed };
        let step = PcStep::trace(&mut graph, setting, coefficients, &shape, draws).map_err(problem)?;
        // The starting point has a graph of its own, since the known part is in it from the beginning.
        let corrected = step.corrected.unwrap_or(step.x);
        let mut kept = vec![step.x, step.mean, step.predictor_input, step.predicted.0, step.predicted.1];
        kept.push(corrected);
        let options = DraftOptions { choice: crate::context::choice(), ..DraftOptions::default() };
        let draft = Draft::new(&graph, &kept, gpu.capabilities(), options).map_err(problem)?;
        let mut plan = draft.build(gpu, self.resources()).map_err(problem)?;
        written.push((stack, noise.to_f32()));
        written.push((coefficients.rows, PcStep::table_data(&table)));
        for (value, data) in written {
            if plan.uses(value) {
                plan.write(value, &data).map_err(problem)?;
            }
        }
        let size = shape.elements();
        let prior: Vec<f32> = noise.data[..size].iter().map(|z| (z * table.prior_std) as f32).collect();
        plan.write(step.x, &self.start(known, &prior, &shape)?).map_err(problem)?;
        let (mut inputs, mut states, mut means) = (Vec::new(), Vec::new(), Vec::new());
        let mut before = plan.read(step.x).map_err(problem)?;
        for _ in &table.rows {
            plan.run().map_err(problem)?;
            let read = |value: Value| plan.read(value).map_err(problem);
            let entered = read(step.predictor_input)?;
            inputs.extend([before.clone(), entered]);
            let after_corrector = if step.corrected.is_some() { read(corrected)? } else { before };
            let predicted =
                |value: Value| if value == step.x { read(step.predictor_input) } else { read(value) };
            states.extend([after_corrector, predicted(step.predicted.0)?]);
            means.push(predicted(step.predicted.1)?);
            before = read(step.x)?;
        }
        let result = if table.denoise { plan.read(step.mean).map_err(problem)? } else { before };
        let stacked = |all: &[Vec<f32>]| {
            let dims: Vec<usize> = [all.len()].iter().chain(shape.dims()).copied().collect();
            Tensor::from_f32(dims, &all.concat()).permute(&STACK_TO_NCHW)
        };
        let mut outputs = Outputs::new();
        outputs.insert("step.x_in", stacked(&inputs));
        outputs.insert("step.x", stacked(&states));
        outputs.insert("step.predictor_x_mean", stacked(&means));
        outputs.insert("out.sample", self.sample(&result, &shape));
        Ok(outputs)
    }

    fn start(&self, known: Option<[&str; 2]>, prior: &[f32], shape: &Shape) -> Result<Vec<f32>, String> {
        let Some([data, mask]) = known else { return Ok(prior.to_vec()) };
        let gpu = self.context.gpu()?;
        let mut graph = Graph::new();
        let drawn = graph.input("prior", shape.clone());
        let of = graph.input("data", shape.clone());
        let at = graph.input("mask", shape.clone());
        let constraint = match mask {
            "" => KnownData::colorize(&mut graph, of, XMean::Reference),
            _ => KnownData::inpaint(&graph, of, at, XMean::Reference),
        };
        let x = constraint.and_then(|c| c.start(&mut graph, drawn)).map_err(problem)?;
        let draft = Draft::new(&graph, &[x], gpu.capabilities(), DraftOptions::default()).map_err(problem)?;
        let mut plan = draft.build(gpu, Resources::new()).map_err(problem)?;
        plan.write(drawn, prior).map_err(problem)?;
        plan.write(of, &self.case.tensor(data)?.permute(&TO_NHWC).to_f32()).map_err(problem)?;
        if !mask.is_empty() {
            plan.write(at, &self.case.tensor(mask)?.permute(&TO_NHWC).to_f32()).map_err(problem)?;
        }
        plan.run().map_err(problem)?;
        plan.read(x).map_err(problem)
    }

    fn ode(&self, config: &Fields) -> Result<Outputs, String> {
        let shape = nhwc(&config.usizes("shape")?)?;
        let (gpu, time) = (self.context.gpu()?, self.time(config)?);
        let model = self.model();
        let score = ModelScore { model, unscaled: self.unscaled() };
        let choice = crate::context::choice();
        let draft = OdeDraft::new(gpu, &score, shape.clone(), false, choice).map_err(problem)?;
        let mut ode = draft.build(gpu, self.resources(), &self.sde, time).map_err(problem)?;
        let tolerance = Tolerance::new(config.f64("rtol")?, config.f64("atol")?).map_err(problem)?;
        let eps = config.f64("eps")?;
        // The authors' error norm is the batch's.
        let options = FlowOptions { t_eps: eps, tolerance, norm: Norm::Batch, method: &RK45 };
        let z = self.case.tensor("in.z")?.permute(&TO_NHWC).to_f32();
        let flowed =
            decode(&mut ode, &z, options, config.bool("denoise")?, &mut |_| true).map_err(problem)?;
        let mut outputs = Outputs::new();
        outputs.insert("out.sample", self.sample(&flowed.ok_or("stopped")?.x, &shape));
        Ok(outputs)
    }
}

/// `n c h w` as the library orders it.
pub fn nhwc(shape: &[usize]) -> Result<Shape, String> {
    match shape {
        &[n, c, h, w] => Ok([n, h, w, c].into()),
        _ => Err(format!("a shape of {shape:?}")),
    }
}

/// The SDE of a configuration.
pub fn sde_parameters(config: &Fields) -> Result<(String, sde::SdeParameters), String> {
    crate::sde::parameters(&config.fields("sde")?)
}
