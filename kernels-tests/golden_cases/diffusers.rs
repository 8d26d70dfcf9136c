//! Folders as diffusers writes them: the network's output and its gradient by the image, and whole runs of its schedulers.

use langevin::checkpoint::diffusers::{DdimConfig, DdpmConfig, ScoreSdeVeConfig};
use langevin::checkpoint::{diffusers, unet2d};
use langevin::graph::{Draft, Graph, Plan, Shape, Value};
use langevin::models::unet::Unet;
use langevin::models::{Network, Weights};
use langevin::ops::sampler_step::Norm;
use langevin::sampling::coefficients::PcTable;
use langevin::sampling::draws::Draws;
use langevin::sampling::few_step::SolverTable;
use langevin::sampling::pc::{PcSetting, PcStep, draws_per_step};
use langevin::sampling::schedulers::{BetaScheduler, ScoreSdeVe};
use langevin::sampling::solver::SolverStep;
use langevin::score::{ModelScore, NetworkModel};
use langevin::sde::Ve;
use serde_json::Value as Json;

use crate::case::{Case, Tensor};
use crate::check::{self, Outputs, Report};
use crate::context::{Context, options};
use crate::fields::Fields;
use crate::network::{Loaded, problem};

const STACK_TO_NHWC: [usize; 5] = [0, 1, 3, 4, 2];
const STACK_TO_NCHW: [usize; 5] = [0, 1, 4, 2, 3];

/// Runs a case of `diffusers/`: `folder` is a network's folder; a trajectory has its scheduler in `config`.
pub fn run(case: &Case, context: &Context) -> Result<Report, String> {
    if case.key("config")?.get("scheduler").is_some() {
        let config = case.config()?;
        let outputs = trajectory(case, context, &config)?;
        config.finish()?;
        return check::check(case, &outputs);
    }
    let folder = case.key("folder")?.as_str().ok_or("`folder` is not a string")?;
    let loaded = network(case, context, folder)?;
    let input = |name: &str| case.tensor(&format!("in.{name}"));
    let outputs = loaded.run(&input("x")?, &input("timestep")?, Some(&input("dy")?), false)?;
    check::check(case, &outputs)
}

/// The network of a folder beside the case.
pub fn network(case: &Case, context: &Context, folder: &str) -> Result<Loaded, String> {
    let folder = diffusers::open(case.dir.join(folder)).map_err(problem)?;
    let unet = Unet::new(unet2d::spec(&folder.unet).map_err(problem)?).map_err(problem)?;
    let weights = Weights::zeros(context.gpu()?, unet.manifest()).map_err(problem)?;
    let tensors = folder.tensors().map_err(problem)?;
    unet2d::read(&unet, &tensors, |name, data| weights.write(name, data)).map_err(problem)?;
    Loaded::ready(Box::new(unet), weights, context)
}

/// A scheduler.
enum Scheduler {
    Ddpm(BetaScheduler),
    Ddim(BetaScheduler),
    ScoreSdeVe(ScoreSdeVe),
}

/// The scheduler of a trajectory, and DDIM's eta. Its class follows from what it is given.
fn scheduler(config: &Json) -> Result<(Scheduler, f64), String> {
    let mut map = config.as_object().ok_or("config.scheduler is not an object")?.clone();
    let eta = map.remove("eta").map(|eta| eta.as_f64().ok_or("config.scheduler.eta is not a number"));
    let known = |config: Result<Json, serde_json::Error>| config.map_err(|e| e.to_string());
    let (class, known) = match &eta {
        Some(_) => ("DDIMScheduler", known(serde_json::to_value(DdimConfig::default()))?),
        None if map.contains_key("sigma_max") => {
            ("ScoreSdeVeScheduler", known(serde_json::to_value(ScoreSdeVeConfig::default()))?)
        }
        None => ("DDPMScheduler", known(serde_json::to_value(DdpmConfig::default()))?),
    };
    if let Some(key) = map.keys().find(|key| known.get(key.as_str()).is_none()) {
        return Err(format!("config.scheduler: unknown key {key:?} of a {class}"));
    }
    let config = Json::Object(map);
    let bad = |e: serde_json::Error| e.to_string();
    let scheduler = match class {
        "DDIMScheduler" => Scheduler::Ddim(serde_json::from_value(config).map_err(bad)?),
        "ScoreSdeVeScheduler" => Scheduler::ScoreSdeVe(serde_json::from_value(config).map_err(bad)?),
        _ => Scheduler::Ddpm(serde_json::from_value(config).map_err(bad)?),
    };
    Ok((scheduler, eta.transpose()?.unwrap_or(0.0)))
}

fn trajectory(case: &Case, context: &Context, config: &Fields) -> Result<Outputs, String> {
    let loaded = network(case, context, config.str("folder")?)?;
    let steps = config.usize("steps")?;
    let (scheduler, eta) = scheduler(config.value("scheduler")?)?;
    let run = Run { case, context, loaded };
    match scheduler {
        Scheduler::Ddpm(chain) => run.chain(&chain, chain.ddpm(steps)),
        Scheduler::Ddim(chain) => run.chain(&chain, chain.ddim(steps, eta)),
        Scheduler::ScoreSdeVe(ve) => run.sde_ve(&ve, steps),
    }
}

/// A trajectory's network and where its draws are.
struct Run<'a> {
    case: &'a Case,
    context: &'a Context,
    loaded: Loaded,
}

impl Run<'_> {
    fn model(&self) -> NetworkModel<'_> {
        NetworkModel::new(self.loaded.network.as_ref())
    }

    /// The recorded draws, `draws n h w c`, of which a run takes `taken`.
    fn noise(&self, taken: usize) -> Result<Tensor, String> {
        let noise = self.case.tensor("noise")?.permute(&STACK_TO_NHWC);
        if noise.shape[0] != taken {
            return Err(format!("{} draws are recorded, the scheduler takes {taken}", noise.shape[0]));
        }
        Ok(noise)
    }

    /// Builds a plan that keeps `kept`, writes `written`, and starts `x` at `std` times the first draw.
    fn build(
        &self,
        graph: &Graph,
        kept: [Value; 2],
        written: &[(Value, Vec<f32>)],
        noise: &Tensor,
        std: f64,
    ) -> Result<Plan, String> {
        let gpu = self.context.gpu()?;
        let draft = Draft::new(graph, &kept, gpu.capabilities(), options()).map_err(problem)?;
        let plan = draft.build(gpu, self.loaded.weights.resources()).map_err(problem)?;
        for (value, data) in written {
            if plan.uses(*value) {
                plan.write(*value, data).map_err(problem)?;
            }
        }
        let size = graph.shape(kept[0]).elements();
        let start: Vec<f32> = noise.data[..size].iter().map(|z| (z * std) as f32).collect();
        plan.write(kept[0], &start).map_err(problem)?;
        Ok(plan)
    }

    /// Runs `rows` replays; the states and the means after each.
    fn replay(
        &self,
        mut plan: Plan,
        kept: [Value; 2],
        rows: usize,
        shape: &Shape,
    ) -> Result<[Tensor; 2], String> {
        let mut all: [Vec<f32>; 2] = Default::default();
        for _ in 0..rows {
            plan.run().map_err(problem)?;
            for (all, value) in all.iter_mut().zip(kept) {
                all.extend(plan.read(value).map_err(problem)?);
            }
        }
        let dims: Vec<usize> = [rows].iter().chain(shape.dims()).copied().collect();
        Ok(all.map(|data| Tensor::from_f32(dims.clone(), &data).permute(&STACK_TO_NCHW)))
    }

    /// DDPM and DDIM. `step.mean` is the prediction of x_0.
    fn chain(&self, chain: &BetaScheduler, table: langevin::Result<SolverTable>) -> Result<Outputs, String> {
        let table = table.map_err(problem)?;
        let drawn = table.rows.iter().filter(|row| row.draws).count();
        let noise = self.noise(1 + drawn)?;
        if table.rows.iter().skip(drawn).any(|row| row.draws) {
            return Err("a row without a draw stands before one with a draw".into());
        }
        let shape = Shape::from(&noise.shape[1..]);
        let mut graph = Graph::new();
        let coefficients = SolverStep::table(&mut graph, table.rows.len());
        let stack = graph.input("noise", noise.shape.clone());
        let draws = Draws::recorded(stack, coefficients.counter, 1);
        let model = self.model();
        let score = ModelScore { model, unscaled: true };
        let step =
            SolverStep::trace(&mut graph, &score, &table, coefficients, &shape, draws).map_err(problem)?;
        let written = [(stack, noise.to_f32()), (coefficients.rows, SolverStep::table_data(&table))];
        let kept = [step.x, step.kept];
        let plan = self.build(&graph, kept, &written, &noise, table.prior_std)?;
        let [states, means] = self.replay(plan, kept, table.rows.len(), &shape)?;
        let timesteps: Vec<f64> = table.rows.iter().map(|row| row.argument).collect();
        let alphas = chain.chain.alphas_cumprod().map_err(problem)?;
        let mut outputs = Outputs::new();
        outputs.insert("out.final", last(&states, |x| (x / 2.0 + 0.5).clamp(0.0, 1.0)));
        outputs.insert("step.x", states);
        outputs.insert("step.mean", means);
        outputs.insert("table.timesteps", Tensor::new([timesteps.len()], timesteps));
        outputs.insert("table.alphas_cumprod", Tensor::new([alphas.len()], alphas));
        Ok(outputs)
    }

    /// The predictor-corrector sampler for VE. `step.mean` is the predictor's mean.
    fn sde_ve(&self, config: &ScoreSdeVe, steps: usize) -> Result<Outputs, String> {
        let table = PcTable::new(&config.pc_options(steps).map_err(problem)?).map_err(problem)?;
        let per_step = draws_per_step(&table, None);
        let noise = self.noise(1 + per_step * table.rows.len())?;
        let shape = Shape::from(&noise.shape[1..]);
        let mut graph = Graph::new();
        let coefficients = PcStep::table(&mut graph, table.rows.len());
        let stack = graph.input("noise", noise.shape.clone());
        let draws = Draws::recorded(stack, coefficients.counter, per_step);
        let model = self.model();
        let score = ModelScore { model, unscaled: true };
        let setting =
            PcSetting { score: &score, pc: &table, norm: Norm::Batch, counted: None, constraint: None };
        let step = PcStep::trace(&mut graph, setting, coefficients, &shape, draws).map_err(problem)?;
        let written = [(stack, noise.to_f32()), (coefficients.rows, PcStep::table_data(&table))];
        let kept = [step.x, step.mean];
        let plan = self.build(&graph, kept, &written, &noise, table.prior_std)?;
        let [states, means] = self.replay(plan, kept, table.rows.len(), &shape)?;
        let ve = Ve::new(config.sigma_min, config.sigma_max, steps).map_err(problem)?;
        let times: Vec<f64> = table.rows.iter().map(|row| row.t).collect();
        let sigmas: Vec<f64> = times.iter().map(|&t| ve.sigma(t)).collect();
        let levels = ve.discrete_sigmas();
        let mut outputs = Outputs::new();
        outputs.insert("out.final", last(&means, |x| x.clamp(0.0, 1.0)));
        outputs.insert("step.x", states);
        outputs.insert("step.mean", means);
        for (name, values) in [("timesteps", times), ("sigmas", sigmas), ("discrete_sigmas", levels)] {
            outputs.insert(format!("table.{name}"), Tensor::new([values.len()], values));
        }
        Ok(outputs)
    }
}

/// The last tensor of a stack, as an image in [0, 1].
fn last(stack: &Tensor, image: impl Fn(f64) -> f64) -> Tensor {
    let shape = stack.shape[1..].to_vec();
    let size: usize = shape.iter().product();
    let data = stack.data[stack.data.len() - size..].iter().map(|&x| image(x)).collect();
    Tensor::new(shape, data)
}
