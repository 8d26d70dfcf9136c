//! A whole network out of a configuration: weights by the authors' names, outputs and gradients read back.

use langevin::gpu::Gpu;
use langevin::graph::{Draft, Graph, Value};
use langevin::models::{self, Config, Network, Weights, names};
use langevin::nn::{Trace, trace::WEIGHTS};

use crate::case::{Case, Tensor};
use crate::check::Outputs;
use crate::context::{Context, options};

/// Images to and from channels last.
const TO_NHWC: [usize; 4] = [0, 2, 3, 1];
const TO_NCHW: [usize; 4] = [0, 3, 1, 2];

/// A network with weights.
pub struct Loaded {
    /// The network.
    pub network: Box<dyn Network>,
    /// Its weights.
    pub weights: Weights,
    gpu: Gpu,
    /// The name in the files of each parameter, in order.
    names: Vec<String>,
}

/// A library error as a case's problem.
pub fn problem(error: langevin::Error) -> String {
    error.to_string()
}

impl Loaded {
    /// The network of the case's configuration with the tensors `<prefix><the authors' name>` of the case.
    pub fn of_case(case: &Case, context: &Context, prefix: &str) -> Result<Self, String> {
        let config = Config::from_json(case.key("config")?).map_err(problem)?;
        let network = models::build(&config).map_err(problem)?;
        let names = names::torch_names(network.manifest()).map_err(problem)?;
        Self::new(network, names, context, |name| case.tensor(&format!("{prefix}{name}")))
    }

    /// The shared weights `model` of the case's category, or `category/model`; tensors `override.param.<name>` of the case replace
    /// theirs.
    pub fn shared(case: &Case, context: &Context, model: &str) -> Result<Self, String> {
        let own = case.id.split('/').next().unwrap_or_default();
        let (category, model) = model.split_once('/').unwrap_or((own, model));
        let shared = context.model(category, model)?;
        let config = Config::from_json(shared.key("config")?).map_err(problem)?;
        let network = models::build(&config).map_err(problem)?;
        let names = names::torch_names(network.manifest()).map_err(problem)?;
        Self::new(network, names, context, |name| {
            let name = format!("param.{name}");
            let replaced = format!("override.{name}");
            if case.has(&replaced)? { case.tensor(&replaced) } else { shared.tensor(&name) }
        })
    }

    /// A network with weights by their names in the files.
    pub fn new(
        network: Box<dyn Network>,
        names: Vec<String>,
        context: &Context,
        tensor: impl Fn(&str) -> Result<Tensor, String>,
    ) -> Result<Self, String> {
        let gpu = context.gpu()?.clone();
        let weights = Weights::zeros(&gpu, network.manifest()).map_err(problem)?;
        for (name, param) in names.iter().zip(network.manifest().params()) {
            let tensor = tensor(name)?;
            if tensor.shape != param.shape {
                return Err(format!("{name} is {:?}, expected {:?}", tensor.shape, param.shape));
            }
            weights.write(&param.name, &tensor.to_f32()).map_err(problem)?;
        }
        Ok(Self { network, weights, gpu, names })
    }

    /// A network whose weights are written already.
    pub fn ready(network: Box<dyn Network>, weights: Weights, context: &Context) -> Result<Self, String> {
        let names = network.manifest().params().iter().map(|p| p.name.clone()).collect();
        Ok(Self { network, weights, gpu: context.gpu()?.clone(), names })
    }

    /// The raw output for images `n c h w` and time arguments `n`; with `dy` also the gradients `gin.x` and, for every parameter,
    /// `grad.<name>`.
    pub fn run(
        &self,
        x: &Tensor,
        time_cond: &Tensor,
        dy: Option<&Tensor>,
        by_parameters: bool,
    ) -> Result<Outputs, String> {
        let turn = |t: &Tensor| if t.shape.len() == 4 { t.permute(&TO_NHWC) } else { t.clone() };
        let (x, upstream) = (turn(x), dy.map(turn));
        let mut graph = Graph::new();
        let mut written = Vec::new();
        let mut input = |graph: &mut Graph, name: &str, tensor: &Tensor| {
            let value = graph.input(name, tensor.shape.clone());
            written.push((value, tensor.to_f32()));
            value
        };
        let x = input(&mut graph, "x", &x);
        let time = input(&mut graph, "time", time_cond);
        let y = self.network.forward(&mut Trace::new(&mut graph, WEIGHTS), x, time).map_err(problem)?;
        let mut targets = vec![("out.y".to_owned(), y)];
        if let Some(upstream) = &upstream {
            let dy = input(&mut graph, "dy", upstream);
            let mut wanted = vec![("gin.x".to_owned(), x)];
            if by_parameters {
                for (name, param) in self.names.iter().zip(self.network.manifest().params()) {
                    if param.trainable {
                        let shape = param.shape.as_slice();
                        let value = graph.parameter(WEIGHTS, &param.name, shape).map_err(problem)?;
                        wanted.push((format!("grad.{name}"), value));
                    }
                }
            }
            let wrt: Vec<Value> = wanted.iter().map(|(_, value)| *value).collect();
            let gradients = graph.backward(&[(y, dy)], &wrt).map_err(problem)?;
            // Where nothing depends on a parameter, the case does not ask for its gradient.
            let found = wanted.into_iter().zip(gradients);
            targets.extend(found.filter_map(|((name, _), gradient)| Some((name, gradient?))));
        }
        let values: Vec<Value> = targets.iter().map(|(_, value)| *value).collect();
        let draft = Draft::new(&graph, &values, self.gpu.capabilities(), options()).map_err(problem)?;
        let mut plan = draft.build(&self.gpu, self.weights.resources()).map_err(problem)?;
        for (value, data) in written {
            if plan.uses(value) {
                plan.write(value, &data).map_err(problem)?;
            }
        }
        plan.run().map_err(problem)?;
        let mut outputs = Outputs::new();
        for (name, value) in targets {
            let data = plan.read(value).map_err(problem)?;
            let tensor = Tensor::from_f32(graph.shape(value).dims(), &data);
            let image = tensor.shape.len() == 4 && !name.starts_with("grad.");
            outputs.insert(name, if image { tensor.permute(&TO_NCHW) } else { tensor });
        }
        Ok(outputs)
    }
}
