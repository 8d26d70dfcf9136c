//! Class-conditional predictor-corrector runs: the score of one model plus the gradient of a classifier, with recorded draws.

use std::cell::RefCell;

use langevin::graph::{Draft, Graph, Resources, Shape, Value};
use langevin::inverse::class::{Classes, GuidedScore};
use langevin::models::Config;
use langevin::ops::sampler_step::Norm;
use langevin::sampling::coefficients::{PcOptions, PcTable};
use langevin::sampling::draws::Draws;
use langevin::sampling::pc::{PcSetting, PcStep, draws_per_step};
use langevin::score::{At, ModelScore, NetworkModel, ScoreFn};
use langevin::sde::{self, TimeConditioning};

use crate::case::{Case, Tensor};
use crate::check::{self, Outputs, Report};
use crate::classifier;
use crate::context::{Context, options};
use crate::fields::Fields;
use crate::network::{Loaded, problem};
use crate::samplers::sde_parameters;

const STACK_TO_NHWC: [usize; 5] = [0, 1, 3, 4, 2];
const STACK_TO_NCHW: [usize; 5] = [0, 1, 4, 2, 3];

/// A guided score that remembers the classifier's gradients.
#[derive(Debug)]
struct Watched<'a> {
    guided: GuidedScore<'a>,
    gradients: RefCell<Vec<Value>>,
}

impl ScoreFn for Watched<'_> {
    fn score(&self, graph: &mut Graph, x: Value, at: At) -> langevin::Result<Value> {
        let gradient = self.guided.gradient(graph, x, at)?;
        self.gradients.borrow_mut().push(gradient);
        self.guided.score(graph, x, at)
    }
}

/// Runs a case whose `config` names a `score_model` and a `classifier`, each as `category/case`.
pub fn run(case: &Case, context: &Context) -> Result<Report, String> {
    let config = case.config()?;
    let outputs = sample(case, context, &config)?;
    config.finish()?;
    check::check(case, &outputs)
}

/// `category/case` in two.
fn shared(name: &str) -> Result<(&str, &str), String> {
    name.split_once('/').ok_or_else(|| format!("{name:?} is not category/case"))
}

fn sample(case: &Case, context: &Context, config: &Fields) -> Result<Outputs, String> {
    let (name, parameters) = sde_parameters(config)?;
    let sde = sde::by_name(&name, &parameters).map_err(problem)?;
    let time = match config.bool("continuous")? {
        true => TimeConditioning::Continuous,
        false => TimeConditioning::Discrete { levels: sde.n() },
    };
    let pc = PcOptions {
        sde: sde.clone(),
        time,
        predictor: config.str("predictor")?.parse().map_err(problem)?,
        corrector: config.str("corrector")?.parse().map_err(problem)?,
        snr: config.f64("snr")?,
        n_steps_each: config.usize("n_steps_each")?,
        probability_flow: config.optional("probability_flow").is_some() && config.bool("probability_flow")?,
        denoise: config.bool("denoise")?,
        t_eps: config.f64("eps")?,
    };
    let table = PcTable::new(&pc).map_err(problem)?;
    let noise = case.tensor("noise")?.permute(&STACK_TO_NHWC);
    let shape = Shape::from(&noise.shape[1..]);

    let score_model = config.str("score_model")?;
    let loaded = Loaded::shared(case, context, score_model)?;
    let (category, model) = shared(score_model)?;
    let described = context.model(category, model)?;
    let centered = Config::from_json(described.key("config")?).map_err(problem)?.data.centered;
    let (category, model) = shared(config.str("classifier")?)?;
    let described = context.model(category, model)?;
    let second = classifier::network(&described, context, &shape[1].into())?;
    let classes = described.key("config")?["num_outputs"].as_u64().ok_or("num_outputs is not a count")?;

    let model = NetworkModel::new(loaded.network.as_ref());
    let score = ModelScore { model, unscaled: sde.name() == "vesde" };
    let classifier = NetworkModel::second(second.network.as_ref());
    let guided = GuidedScore { score: &score, classifier, guidance: 1.0 };
    let watched = Watched { guided, gradients: RefCell::default() };
    let per_step = draws_per_step(&table, None);
    let expected = 1 + per_step * table.rows.len();
    if noise.shape[0] != expected {
        return Err(format!("{} draws are recorded, the sampler takes {expected}", noise.shape[0]));
    }
    let mut graph = Graph::new();
    let coefficients = PcStep::table(&mut graph, table.rows.len());
    let stack = graph.input("noise", noise.shape.clone());
    let draws = Draws::recorded(stack, coefficients.counter, per_step);
    let setting =
        PcSetting { score: &watched, pc: &table, norm: Norm::Batch, counted: None, constraint: None };
    let step = PcStep::trace(&mut graph, setting, coefficients, &shape, draws).map_err(problem)?;
    let gradients = watched.gradients.into_inner();
    let corrected = step.corrected.unwrap_or(step.x);
    let kept: Vec<Value> = [step.x, step.mean, corrected].iter().chain(&gradients).copied().collect();

    let gpu = context.gpu()?;
    let labels: Vec<usize> = case.tensor("in.labels")?.data.iter().map(|&label| label as usize).collect();
    let wished = Classes::new(gpu, shape[0], classes as usize).map_err(problem)?;
    wished.write(&labels).map_err(problem)?;
    let resources: Resources = wished.resources(loaded.weights.resources());
    let resources = NetworkModel::second_resources(&second.weights, resources);
    let draft = Draft::new(&graph, &kept, gpu.capabilities(), options()).map_err(problem)?;
    let mut plan = draft.build(gpu, resources).map_err(problem)?;
    for (value, data) in [(stack, noise.to_f32()), (coefficients.rows, PcStep::table_data(&table))] {
        if plan.uses(value) {
            plan.write(value, &data).map_err(problem)?;
        }
    }
    let size = shape.elements();
    let prior: Vec<f32> = noise.data[..size].iter().map(|z| (z * table.prior_std) as f32).collect();
    plan.write(step.x, &prior).map_err(problem)?;
    let (mut states, mut followed) = (Vec::new(), Vec::new());
    let mut before = prior;
    for _ in &table.rows {
        plan.run().map_err(problem)?;
        let read = |value: Value| plan.read(value).map_err(problem);
        states.push(if step.corrected.is_some() { read(corrected)? } else { before });
        before = read(step.x)?;
        states.push(before.clone());
        for &gradient in &gradients {
            followed.push(read(gradient)?);
        }
    }
    let result = if table.denoise { plan.read(step.mean).map_err(problem)? } else { before };
    let stacked = |all: &[Vec<f32>]| {
        let dims: Vec<usize> = [all.len()].iter().chain(shape.dims()).copied().collect();
        Tensor::from_f32(dims, &all.concat()).permute(&STACK_TO_NCHW)
    };
    let unscale = |v: f32| if centered { (f64::from(v) + 1.0) / 2.0 } else { f64::from(v) };
    let sample = Tensor::new(shape.dims(), result.into_iter().map(unscale).collect());
    let mut outputs = Outputs::new();
    outputs.insert("step.x", stacked(&states));
    outputs.insert("step.classifier_grad", stacked(&followed));
    outputs.insert("out.sample", sample.permute(&[0, 3, 1, 2]));
    Ok(outputs)
}
