//! What is measured.

use std::fmt;
use std::sync::Arc;

use crate::error::Result;
use crate::gpu::Gpu;
use crate::graph::{Chosen, Draft, DraftOptions, Graph, Kernels, Plan, Resources, Value};
use crate::nn::Manifest;
use crate::nn::trace::{FIXED, WEIGHTS};
use crate::random::Stream;
use crate::training::TrainStep;

/// Unit roundoff of f16.
const F16: f64 = 1.0 / 2048.0;

/// What kind of thing a case is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// One op, forward or one gradient.
    Kernel,
    /// A block of a network.
    Block,
    /// A network's forward pass.
    Model,
    /// A step of training: perturbation, forward, loss, backward, clipping, Adam, moving average.
    Training,
    /// A step of predictor-corrector sampling: two forward passes, noise, norms, updates.
    Sampling,
}

impl Group {
    /// The word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Block => "block",
            Self::Model => "model",
            Self::Training => "training",
            Self::Sampling => "sampling",
        }
    }

    /// Largest difference from the plainest kernels, as a share of the largest output.
    ///
    /// The goldens allow an op 2e-5 in f32, so two correct kernels may differ by 4e-5; through a block or a network errors add up.
    /// Kernels that round to f16 (`reduced`) round both operands of each product by up to 2⁻¹¹. The errors of a sum are random, as its
    /// terms are, so their share of the largest output is some 2⁻¹¹ whatever the number of terms; 4 times that leaves room for the
    /// transform of a Winograd convolution, and for the two products of attention where scores are of order 1. The two convolutions of a
    /// block add up, the hundred of a network as a random walk.
    pub fn tolerance(self, reduced: bool) -> f64 {
        match self {
            Self::Kernel if reduced => 4.0 * F16,
            Self::Block if reduced => 8.0 * F16,
            Self::Model | Self::Training | Self::Sampling if reduced => 40.0 * F16,
            Self::Kernel => 4e-5,
            Self::Block => 1e-4,
            Self::Model | Self::Training | Self::Sampling => 1e-3,
        }
    }
}

/// The contents of an input.
#[derive(Clone, Debug)]
pub enum Data {
    /// Floating-point numbers.
    F32(Vec<f32>),
    /// Unsigned integers.
    U32(Vec<u32>),
}

/// A graph and the numbers that it runs on.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The graph.
    pub graph: Graph,
    /// Inputs and states, written once.
    pub inputs: Vec<(Value, Data)>,
    /// Parameters: set, name, numbers.
    pub parameters: Vec<(String, String, Vec<f32>)>,
    /// What is computed.
    pub outputs: Vec<Value>,
    /// Image 0 of every output depends on image 0 alone, whatever the batch.
    pub per_image: bool,
}

impl Workload {
    /// A workload without numbers yet.
    pub(super) fn new(graph: Graph, outputs: Vec<Value>) -> Self {
        Self { graph, inputs: Vec::new(), parameters: Vec::new(), outputs, per_image: true }
    }

    /// Fills an input with numbers of mean 0 and variance 1; image 0 has the same in any batch.
    pub(super) fn filled(mut self, input: Value) -> Self {
        let numbers = numbers(self.graph.shape(input).elements(), self.inputs.len() as u32);
        self.inputs.push((input, Data::F32(numbers)));
        self
    }

    /// Writes an input.
    pub(super) fn with(mut self, input: Value, data: Data) -> Self {
        self.inputs.push((input, data));
        self
    }

    /// Fills every parameter of the set `weights` with numbers of variance 1/fan-in, which keep the variance of what passes.
    pub(super) fn weighted(mut self) -> Self {
        for value in self.graph.parameters(WEIGHTS) {
            let shape = self.graph.shape(value);
            let scale = match shape.dims() {
                [_] => 0.5,
                [_, rest @ ..] => (rest.iter().product::<usize>() as f64).powf(-0.5),
                [] => 1.0,
            };
            let part = 1000 + self.parameters.len() as u32;
            let data =
                numbers(shape.elements(), part).into_iter().map(|v| (f64::from(v) * scale) as f32).collect();
            self.parameters.push((WEIGHTS.into(), self.graph.name(value).into(), data));
        }
        self
    }

    /// Fills parameters as a network begins.
    pub(super) fn initialised(mut self, manifest: &Manifest) -> Self {
        for (spec, data) in manifest.initialise(7) {
            let set = if spec.trainable { WEIGHTS } else { FIXED };
            self.parameters.push((set.into(), spec.name.clone(), data));
        }
        self
    }

    /// Builds the plan and writes the numbers.
    ///
    /// # Errors
    /// As [`Draft::new`] and [`Draft::build`].
    pub fn build(&self, gpu: &Gpu, kernels: &Kernels) -> Result<Built> {
        let options = DraftOptions { choice: kernels.choice.clone(), ..DraftOptions::default() };
        let mut draft = Draft::new(&self.graph, &self.outputs, gpu.capabilities(), options)?;
        if let Some(tuner) = &kernels.tuner {
            draft = tuner.tuned(&draft)?;
        }
        let plan = draft.build(gpu, Resources::new())?;
        for (value, data) in self.inputs.iter().filter(|(value, _)| plan.uses(*value)) {
            match data {
                Data::F32(data) => plan.write(*value, data)?,
                Data::U32(data) => plan.write_u32(*value, data)?,
            }
        }
        for (set, name, data) in &self.parameters {
            let set = plan.parameters(set).filter(|set| set.layout().slot(name).is_some());
            set.map_or(Ok(()), |set| set.write(name, data))?;
        }
        Ok(Built {
            engine: Engine::Plan(Box::new(plan)),
            outputs: self.outputs.clone(),
            flops: draft.flops(),
            bytes: draft.bytes(),
            memory: draft.memory().total(),
            chosen: draft.chosen().to_vec(),
            per_image: self.per_image,
        })
    }
}

/// `count` numbers of mean 0 and variance 1, the same for the same `part`. Uniform: they cost the processor less than normal ones.
pub(super) fn numbers(count: usize, part: u32) -> Vec<f32> {
    let mut stream = Stream::new(20_211_101, 0xbe7c, part);
    (0..count).map(|_| ((stream.uniform() - 0.5) * 12f64.sqrt()) as f32).collect()
}

/// A case on a device.
#[derive(Debug)]
pub struct Built {
    pub(super) engine: Engine,
    outputs: Vec<Value>,
    /// Floating-point operations of one replay, direct convolution counted.
    pub flops: f64,
    /// Bytes that its ops must read and write at least.
    pub bytes: f64,
    /// Device memory in bytes.
    pub memory: u64,
    /// The kernels.
    pub chosen: Vec<Chosen>,
    /// As in [`Workload::per_image`].
    pub per_image: bool,
}

/// What is replayed.
#[derive(Debug)]
pub(super) enum Engine {
    Plan(Box<Plan>),
    /// A training step that has run once.
    Step(Box<TrainStep>),
}

impl Built {
    pub(super) fn of_step(step: TrainStep, draft: &Draft, flops: f64, memory: u64) -> Self {
        Self {
            engine: Engine::Step(Box::new(step)),
            outputs: Vec::new(),
            flops,
            bytes: draft.bytes(),
            memory,
            chosen: draft.chosen().to_vec(),
            per_image: false,
        }
    }

    /// The plan that is replayed.
    pub fn plan(&mut self) -> &mut Plan {
        match &mut self.engine {
            Engine::Plan(plan) => plan,
            Engine::Step(step) => step.plan(),
        }
    }

    /// Replays for the first time and reads the outputs; of a training step loss and norm of the gradient.
    ///
    /// # Errors
    /// What the device reports.
    pub fn first(&mut self) -> Result<Vec<Vec<f32>>> {
        match &mut self.engine {
            Engine::Plan(plan) => {
                plan.run()?;
                self.outputs.iter().map(|&output| plan.read(output)).collect()
            }
            Engine::Step(step) => {
                let figure = step.figure()?;
                Ok(vec![vec![figure.loss as f32], vec![figure.grad_norm as f32]])
            }
        }
    }

    /// Classes and variants of the kernels that had a rival, with how often each is used.
    pub fn kernels(&self) -> Vec<String> {
        let rivalled = self.chosen.iter().filter(|c| c.of > 1);
        counted(rivalled.map(|c| c.name()))
    }

    /// Classes and variants that were not chosen, each with its reason and how often it was passed by.
    pub fn rivals(&self) -> Vec<String> {
        counted(self.chosen.iter().flat_map(|c| &c.rivals).map(|r| format!("{}: {}", r.name, r.why)))
    }

    /// True where a kernel rounds to f16.
    pub fn is_reduced(&self) -> bool {
        self.chosen.iter().any(|c| c.arithmetic.is_reduced())
    }
}

/// Each text once, in the order of the first, with how often it came where that is more than once.
fn counted(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for text in texts {
        match counts.iter_mut().find(|(known, _)| *known == text) {
            Some((_, count)) => *count += 1,
            None => counts.push((text, 1)),
        }
    }
    counts.into_iter().map(|(text, n)| if n == 1 { text } else { format!("{n} × {text}") }).collect()
}

type Make = dyn Fn(usize) -> Result<Workload> + Send + Sync;
type MakeStep = dyn Fn(&Gpu, usize, &Kernels) -> Result<Built> + Send + Sync;

#[derive(Clone)]
enum Subject {
    Graph(Arc<Make>),
    Step(Arc<MakeStep>),
}

/// One thing that is measured, at one batch size.
#[derive(Clone)]
pub struct Case {
    /// The kind.
    pub group: Group,
    /// What it computes.
    pub name: &'static str,
    /// Channels and sizes of one image, or the preset of a network.
    pub shape: String,
    /// Images.
    pub batch: usize,
    /// Too long for the default set.
    pub full: bool,
    /// Too long for a processor that plays a GPU.
    pub hardware: bool,
    subject: Subject,
}

impl Case {
    pub(super) fn new(
        group: Group,
        name: &'static str,
        shape: impl Into<String>,
        batch: usize,
        make: impl Fn(usize) -> Result<Workload> + Send + Sync + 'static,
    ) -> Self {
        let subject = Subject::Graph(Arc::new(make));
        Self { group, name, shape: shape.into(), batch, full: false, hardware: false, subject }
    }

    pub(super) fn step(
        name: &'static str,
        shape: impl Into<String>,
        batch: usize,
        make: impl Fn(&Gpu, usize, &Kernels) -> Result<Built> + Send + Sync + 'static,
    ) -> Self {
        let subject = Subject::Step(Arc::new(make));
        Self {
            group: Group::Training,
            name,
            shape: shape.into(),
            batch,
            full: true,
            hardware: false,
            subject,
        }
    }

    pub(super) fn only_full(self, full: bool) -> Self {
        Self { full, ..self }
    }

    pub(super) fn on_hardware(self, hardware: bool) -> Self {
        Self { hardware, ..self }
    }

    /// The graph and its numbers for a batch of `n`; `None` for a training step, which has several graphs.
    ///
    /// # Errors
    /// What tracing says.
    pub fn workload(&self, n: usize) -> Option<Result<Workload>> {
        match &self.subject {
            Subject::Graph(make) => Some(make(n)),
            Subject::Step(_) => None,
        }
    }

    /// Builds it for a batch of `n`.
    ///
    /// # Errors
    /// What tracing and building say: [`crate::Error::Limit`] where it does not fit the device.
    pub fn build(&self, gpu: &Gpu, n: usize, kernels: &Kernels) -> Result<Built> {
        match &self.subject {
            Subject::Graph(make) => make(n)?.build(gpu, kernels),
            Subject::Step(make) => make(gpu, n, kernels),
        }
    }
}

/// Group, name, shape and batch: what `--filter` looks into.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} n={}", self.group.name(), self.name, self.shape, self.batch)
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Case({self})")
    }
}
