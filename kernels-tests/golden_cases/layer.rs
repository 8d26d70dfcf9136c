//! A piece of a network out of a case: its inputs and parameters become values of a graph, its output and all gradients are read
//! back under the names that `check` uses.

use std::collections::BTreeSet;

use langevin::graph::{Draft, Graph, Plan, Resources, Value};
use langevin::nn::trace::WEIGHTS;

use crate::case::{Case, Tensor};
use crate::check::Outputs;
use crate::context::{Context, options};

/// Images to and from channels last; anything else stays.
const TO_NHWC: [usize; 4] = [0, 2, 3, 1];
const TO_NCHW: [usize; 4] = [0, 3, 1, 2];

/// What a value of the graph was in the case.
struct Operand {
    value: Value,
    /// In the graph's layout.
    data: Tensor,
    /// The name of its gradient.
    gradient: Option<String>,
    /// Whether images were turned.
    turned: bool,
    /// Whether it is in the parameter set.
    parameter: bool,
}

/// A case being traced.
pub struct Layer<'a> {
    case: &'a Case,
    /// Ops are appended here.
    pub graph: Graph,
    operands: Vec<Operand>,
    /// Tensors of parameters that were asked for.
    read: BTreeSet<String>,
}

/// A library error as a case's problem.
pub fn problem(error: langevin::Error) -> String {
    error.to_string()
}

impl<'a> Layer<'a> {
    /// An empty graph for `case`.
    pub fn new(case: &'a Case) -> Self {
        Self { case, graph: Graph::new(), operands: Vec::new(), read: BTreeSet::new() }
    }

    /// The input `in.<name>`, images channels-last; its gradient is `gin.<name>`.
    pub fn input(&mut self, name: &str) -> Result<Value, String> {
        let tensor = self.case.tensor(&format!("in.{name}"))?;
        let turned = tensor.shape.len() == 4;
        let data = if turned { tensor.permute(&TO_NHWC) } else { tensor };
        let value = self.graph.input(name, data.shape.clone());
        let gradient = format!("gin.{name}");
        let gradient = self.case.check()?.contains_key(&gradient).then_some(gradient);
        self.operands.push(Operand { value, data, gradient, turned, parameter: false });
        Ok(value)
    }

    /// The parameter `param.<name>` as it is; its gradient is `grad.<name>`.
    pub fn parameter(&mut self, name: &str) -> Result<Value, String> {
        self.parameter_as(name, name)
    }

    /// The parameter `param.<name>`, which the graph knows as `own`.
    pub fn parameter_as(&mut self, own: &str, name: &str) -> Result<Value, String> {
        let data = self.case.tensor(&format!("param.{name}"))?;
        let value = self.graph.parameter(WEIGHTS, own, data.shape.clone()).map_err(problem)?;
        let checks = |prefix: &str| -> Result<bool, String> {
            Ok(self.case.check()?.contains_key(&format!("{prefix}.{name}")))
        };
        let checked = checks("grad")? || checks("gradnorm")? || checks("gradhead")?;
        let gradient = checked.then(|| format!("grad.{name}"));
        self.read.insert(format!("param.{name}"));
        self.operands.push(Operand { value, data, gradient, turned: false, parameter: true });
        Ok(value)
    }

    /// Height and width of the expected `out.y`, where the configuration does not say them.
    pub fn expected_size(&self) -> Result<[usize; 2], String> {
        match self.case.tensor("out.y")?.shape[..] {
            [_, _, h, w] => Ok([h, w]),
            ref other => Err(format!("out.y is no images but {other:?}")),
        }
    }

    /// Runs the graph: `out.y` is `y`, and every gradient that `check` names is taken with `in.dy` upstream.
    pub fn finish(mut self, context: &Context, y: Value) -> Result<Outputs, String> {
        let wanted: Vec<usize> =
            (0..self.operands.len()).filter(|&i| self.operands[i].gradient.is_some()).collect();
        let images = self.graph.shape(y).rank() == 4;
        let (mut targets, mut computed) = (vec![y], Vec::new());
        if !wanted.is_empty() {
            let upstream = self.input("dy")?;
            let wrt: Vec<Value> = wanted.iter().map(|&i| self.operands[i].value).collect();
            let gradients = self.graph.backward(&[(y, upstream)], &wrt).map_err(problem)?;
            targets.extend(gradients.iter().flatten());
            computed = gradients;
        }
        if let Some(name) = self.case.tensor_names()?.iter().find(|name| self.is_left_over(name)) {
            return Err(format!("{name} is not used"));
        }
        let plan = self.run(context, &targets).map_err(problem)?;
        let mut outputs = Outputs::new();
        let read = |value: Value, turned: bool| -> Result<Tensor, String> {
            let data = plan.read(value).map_err(problem)?;
            let tensor = Tensor::from_f32(self.graph.shape(value).dims(), &data);
            Ok(if turned { tensor.permute(&TO_NCHW) } else { tensor })
        };
        outputs.insert("out.y", read(y, images)?);
        for (target, &i) in computed.into_iter().zip(&wanted) {
            let operand = &self.operands[i];
            let gradient = match target {
                Some(target) => read(target, operand.turned)?,
                // Nothing depends on it.
                None => Tensor::new(operand.data.shape.clone(), vec![0.0; operand.data.data.len()]),
            };
            outputs.insert(operand.gradient.clone().unwrap_or_default(), gradient);
        }
        Ok(outputs)
    }

    /// Whether `name` is a parameter that nobody asked for.
    fn is_left_over(&self, name: &str) -> bool {
        name.starts_with("param.") && !self.read.contains(name)
    }

    fn run(&self, context: &Context, targets: &[Value]) -> langevin::Result<Plan> {
        let gpu = context.gpu().map_err(|e| langevin::Error::Validation { cause: e })?;
        let draft = Draft::new(&self.graph, targets, gpu.capabilities(), options())?;
        let mut plan = draft.build(gpu, Resources::new())?;
        for operand in &self.operands {
            if operand.parameter {
                if let Some(weights) = plan.parameters(WEIGHTS) {
                    weights.write(self.graph.name(operand.value), &operand.data.to_f32())?;
                }
            } else if !plan.uses(operand.value) {
                // An input that no kept op reads has no memory.
            } else {
                plan.write(operand.value, &operand.data.to_f32())?;
            }
        }
        plan.parameters_changed();
        plan.run()?;
        Ok(plan)
    }
}
