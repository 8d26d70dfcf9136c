//! Loss values and gradients on recorded draws, and 20-step trajectories of training.

use std::sync::Arc;

use langevin::models::{self, Config, Network, names};
use langevin::ops::adam::Adam;
use langevin::sde::{self, LinearBeta, Sde, SdeParameters, TimeConditioning};
use langevin::training::{
    Evaluation, Level, Objective, Reduction, Row, StepBatch, StepDraft, StepSettings, TrainStep,
};

use crate::case::{Case, Tensor};
use crate::check::{Outputs, Report, check};
use crate::context::Context;
use crate::fields::Fields;
use crate::network::problem;

/// Images to channels last.
const TO_NHWC: [usize; 4] = [0, 2, 3, 1];
/// The smallest t of the authors' losses.
const T_EPS: f64 = 1e-5;

/// Runs a case of `losses/`.
pub fn run(case: &Case, context: &Context) -> Result<Report, String> {
    let config = case.config()?;
    let model = context.model("losses", config.str("model")?)?;
    let network =
        models::build(&Config::from_json(model.key("config")?).map_err(problem)?).map_err(problem)?;
    let names = names::torch_names(network.manifest()).map_err(problem)?;
    let run = Run { case, context, model: &model, network, names };
    let outputs = match config.optional("steps") {
        Some(_) => run.trajectory(&config)?,
        None => run.loss(&config)?,
    };
    check(case, &outputs)
}

struct Run<'a> {
    case: &'a Case,
    context: &'a Context,
    model: &'a Case,
    network: Box<dyn Network>,
    /// The name in the files of each parameter, in order.
    names: Vec<String>,
}

fn sde_of(config: &Fields<'_>) -> Result<(String, SdeParameters, Arc<dyn Sde>), String> {
    let fields = config.fields("sde")?;
    let name = fields.str("type")?.to_owned();
    let ve = name == "vesde";
    let of = |key: &str, wanted: bool| if wanted { fields.f64(key) } else { Ok(1.0) };
    let parameters = SdeParameters {
        sigma_min: of("sigma_min", ve)?,
        sigma_max: of("sigma_max", ve)?,
        beta_min: of("beta_min", !ve)?,
        beta_max: of("beta_max", !ve)?,
        n: fields.usize("N")?,
    };
    fields.finish()?;
    let sde = sde::by_name(&name, &parameters).map_err(problem)?;
    Ok((name, parameters, sde))
}

/// `sde`, `sde_nc` (continuous t, labels of a discretely trained network), `smld` or `ddpm`.
fn objective(config: &Fields<'_>, loss: &str, likelihood_weighting: bool) -> Result<Objective, String> {
    let (_, p, sde) = sde_of(config)?;
    let continuous = |time| Objective::Continuous { sde, time, likelihood_weighting, t_eps: T_EPS };
    Ok(match loss {
        "sde" => continuous(TimeConditioning::Continuous),
        "sde_nc" => continuous(TimeConditioning::Discrete { levels: p.n }),
        "smld" => Objective::Smld { sigmas: sde::network_sigmas(p.sigma_min, p.sigma_max, p.n) },
        "ddpm" => {
            let betas = LinearBeta::new(p.beta_min, p.beta_max, p.n).map_err(problem)?;
            Objective::Ddpm { means: betas.sqrt_alphas_cumprod(), stds: betas.sqrt_1m_alphas_cumprod() }
        }
        other => return Err(format!("unknown loss {other:?}")),
    })
}

fn reduction(config: &Fields<'_>) -> Result<Reduction, String> {
    Ok(if config.bool("reduce_mean")? { Reduction::Mean } else { Reduction::HalfSum })
}

/// Part `index` along the first axis.
fn part(tensor: &Tensor, index: usize) -> Tensor {
    let shape = &tensor.shape[1..];
    let size: usize = shape.iter().product();
    Tensor::new(shape, tensor.data[index * size..(index + 1) * size].to_vec())
}

impl Run<'_> {
    /// The numbers of images whose times or labels are `levels`.
    fn rows(&self, objective: &Objective, levels: &Tensor) -> Result<Vec<Row>, String> {
        let level = |&v: &f64| match objective {
            Objective::Continuous { .. } => Level::Time(v),
            _ => Level::Label(v as usize),
        };
        levels.data.iter().map(|v| objective.row(level(v)).map_err(problem)).collect()
    }

    /// `in.t` or `in.labels`.
    fn levels(&self) -> Result<Tensor, String> {
        let name = if self.case.has("in.t")? { "in.t" } else { "in.labels" };
        self.case.tensor(name)
    }

    /// A step for images `n c h w` with the model's weights.
    fn step(&self, images: &Tensor, reduction: Reduction, adam: Adam) -> Result<TrainStep, String> {
        let gpu = self.context.gpu()?;
        let [n, c, h, w] = images.shape[..] else { return Err(format!("images of {:?}", images.shape)) };
        let settings = StepSettings {
            shape: [n, h, w, c],
            batch: n,
            reduction,
            adam,
            seed: 0,
            recorded_noise: true,
            recompute: false,
            choice: Default::default(),
        };
        let draft = StepDraft::new(gpu, &self.network, &settings).map_err(problem)?;
        let step = draft.build(gpu).map_err(problem)?;
        let state = step.state();
        for (name, spec) in self.names.iter().zip(self.network.manifest().params()) {
            let (own, shared) = (format!("override.{name}"), format!("param.{name}"));
            let tensor =
                if self.case.has(&own)? { self.case.tensor(&own)? } else { self.model.tensor(&shared)? };
            let set = if spec.trainable { &state.weights } else { &state.fixed };
            set.write(&spec.name, &tensor.to_f32()).map_err(problem)?;
        }
        state.ema.copy_from(&state.weights).map_err(problem)?;
        Ok(step)
    }

    /// Value and gradients of one loss.
    fn loss(&self, config: &Fields<'_>) -> Result<Outputs, String> {
        let weighting = config.optional("likelihood_weighting").and_then(|v| v.as_bool()).unwrap_or(false);
        let objective = objective(config, config.str("loss")?, weighting)?;
        let reduction = reduction(config)?;
        config.finish()?;
        let rows = self.rows(&objective, &self.levels()?)?;
        let images = self.case.tensor("in.batch")?;
        let adam = Adam {
            lr: 0.0,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            warmup: 0,
            grad_clip: -1.0,
            ema_rate: 0.999,
        };
        let mut step = self.step(&images, reduction, adam)?;
        let (x, z) =
            (images.permute(&TO_NHWC).to_f32(), self.case.tensor("in.z")?.permute(&TO_NHWC).to_f32());
        step.run(&StepBatch { images: &x, rows: &rows, noise: Some(&z) }).map_err(problem)?;
        let mut outputs = Outputs::new();
        let loss = step.figure().map_err(problem)?.loss;
        outputs.insert("out.loss", Tensor::new([1], vec![loss]));
        let order: Vec<String> = serde_json::from_value(self.case.key("param_order")?.clone())
            .map_err(|e| format!("param_order: {e}"))?;
        let mut norms = vec![0.0; order.len()];
        for (name, spec) in self.names.iter().zip(self.network.manifest().params()) {
            if step.state().grads.layout().slot(&spec.name).is_none() {
                continue;
            }
            let gradient = step.state().grads.read(&spec.name).map_err(problem)?;
            if let Some(at) = order.iter().position(|n| n == name) {
                norms[at] = gradient.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
            }
            outputs.insert(format!("grad.{name}"), Tensor::from_f32(spec.shape.clone(), &gradient));
        }
        outputs.insert("out.grad_norms", Tensor::new([norms.len()], norms));
        Ok(outputs)
    }

    /// Recorded steps of Adam, and the loss of the averaged weights behind them.
    fn trajectory(&self, config: &Fields<'_>) -> Result<Outputs, String> {
        let continuous = config.bool("continuous")?;
        let name = config.fields("sde")?.str("type")?.to_owned();
        let loss = match (continuous, name.as_str()) {
            (true, _) => "sde",
            (false, "vesde") => "smld",
            (false, _) => "ddpm",
        };
        let weighting = config.optional("likelihood_weighting").and_then(|v| v.as_bool()).unwrap_or(false);
        let objective = objective(config, loss, weighting)?;
        let (reduction, steps) = (reduction(config)?, config.usize("steps")?);
        config.optional("model_note");
        let optim = config.fields("optim")?;
        optim.str("optimizer")?;
        let adam = Adam {
            lr: optim.f64("lr")?,
            beta1: optim.f64("beta1")?,
            beta2: optim.f64("beta2")?,
            eps: optim.f64("eps")?,
            weight_decay: optim.f64("weight_decay")?,
            warmup: optim.usize("warmup")? as u64,
            grad_clip: optim.f64("grad_clip")?,
            ema_rate: config.f64("ema_rate")?,
        };
        optim.finish()?;
        config.finish()?;

        let (batches, levels, noise) =
            (self.case.tensor("in.batches")?, self.levels()?, self.case.tensor("in.z")?);
        let turned = |tensor: &Tensor, i: usize| part(tensor, i).permute(&TO_NHWC).to_f32();
        let mut step = self.step(&part(&batches, 0), reduction, adam)?;
        let (mut losses, mut norms) = (vec![], vec![]);
        for i in 0..steps {
            let (x, z, rows) =
                (turned(&batches, i), turned(&noise, i), self.rows(&objective, &part(&levels, i))?);
            step.run(&StepBatch { images: &x, rows: &rows, noise: Some(&z) }).map_err(problem)?;
            let figure = step.figure().map_err(problem)?;
            losses.push(figure.loss);
            norms.push(figure.grad_norm);
        }
        let mut outputs = Outputs::new();
        outputs.insert("out.loss", Tensor::new([steps], losses));
        outputs.insert("out.grad_norm", Tensor::new([steps], norms));
        let state = step.state();
        for (name, spec) in self.names.iter().zip(self.network.manifest().params()) {
            let read = |set: &langevin::graph::ParameterSet| -> Result<Tensor, String> {
                Ok(Tensor::from_f32(spec.shape.clone(), &set.read(&spec.name).map_err(problem)?))
            };
            let (weights, ema) =
                if spec.trainable { (&state.weights, &state.ema) } else { (&state.fixed, &state.fixed) };
            outputs.insert(format!("step{steps}.param.{name}"), read(weights)?);
            outputs.insert(format!("step{steps}.ema.{name}"), read(ema)?);
        }
        let gpu = self.context.gpu()?;
        let mut evaluation =
            Evaluation::new(gpu, &self.network, &state.ema, &state.fixed, step.settings(), |draft| {
                Ok(draft.clone())
            })
            .map_err(problem)?;
        let rows = self.rows(&objective, &part(&levels, steps))?;
        let (x, z) = (turned(&batches, 0), turned(&noise, steps));
        let loss = evaluation.loss(0, &x, &rows, Some(&z)).map_err(problem)?;
        outputs.insert("out.eval_loss", Tensor::new([1], vec![loss]));
        Ok(outputs)
    }
}
