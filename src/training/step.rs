//! One training step as replayed plans: perturb, forward, loss, backward, clip, Adam, moving average.

mod run;

use std::collections::{HashSet, VecDeque};

use super::loss::{LossInputs, Reduction, Row};
use super::state::{Layouts, TrainState};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Submission};
use crate::graph::{
    Choice, DType, Draft, DraftOptions, Drafts, Graph, Memory, Plan, Resources, Shape, Value,
};
use crate::models::Network;
use crate::nn::trace::WEIGHTS;
use crate::nn::{Manifest, Trace};
use crate::ops::adam::{self, Adam, COUNTERS, Segment};
use crate::ops::clip::global_norm;
use crate::ops::elementwise::{add, assign, copy};
use crate::ops::philox::{self, Purpose, Source};

/// What a step is made of.
#[derive(Clone, Debug)]
pub struct StepSettings {
    /// Shape of the images of one replay, `n h w c`.
    pub shape: [usize; 4],
    /// Images of one step: the loss is a mean over them.
    pub batch: usize,
    /// How an image's loss is reduced over pixels.
    pub reduction: Reduction,
    /// The optimizer.
    pub adam: Adam,
    /// Seed of perturbations and dropout.
    pub seed: u64,
    /// The perturbation is given with each batch instead of drawn: for checking against other code.
    pub recorded_noise: bool,
    /// The backward pass computes the activations inside the blocks of the network again rather than keep them: less memory, about a
    /// fifth more work, the same bits.
    pub recompute: bool,
    /// How kernels are chosen.
    pub choice: Choice,
}

/// The images of one step and the numbers of each.
#[derive(Clone, Copy, Debug)]
pub struct StepBatch<'a> {
    /// `batch h w c`, scaled as the network takes them.
    pub images: &'a [f32],
    /// One row an image.
    pub rows: &'a [Row],
    /// The perturbation, `batch h w c`, where the settings say that it is recorded.
    pub noise: Option<&'a [f32]>,
}

/// Values of the gradient's graph that a step touches.
#[derive(Clone, Copy, Debug)]
struct Values {
    inputs: LossInputs,
    seed: Value,
    images: Value,
    z: Value,
    counters: Value,
    loss: Value,
    /// Of a classifier: the sum of the accuracies since the host last set it to 0.
    accuracy_sum: Option<Value>,
}

/// Values of the optimizer's part: of the same graph, or of one of its own.
#[derive(Clone, Copy, Debug)]
struct Totals {
    counters: Value,
    loss: Value,
    norm: Value,
    /// Sums over the steps since the host last set them to 0: loss and norm.
    sums: [Value; 2],
}

/// The graphs where a batch is split: sums of gradients and losses, and the optimizer over the sums.
#[derive(Debug)]
struct Split {
    sum: Draft,
    /// In `sum`: the loss of a micro-batch, and the sum so far.
    part: Value,
    so_far: Value,
    optimize: Draft,
    /// In `optimize`: the sum of all.
    batch_loss: Value,
}

/// A step on paper: its memory is known, nothing is allocated.
#[derive(Debug)]
pub struct StepDraft {
    gradient: Draft,
    split: Option<Split>,
    values: Values,
    totals: Totals,
    layouts: Layouts,
    settings: StepSettings,
    manifest: Manifest,
}

/// A step on a device.
#[derive(Debug)]
pub struct TrainStep {
    gradient: Plan,
    split: Option<SplitPlans>,
    values: Values,
    totals: Totals,
    settings: StepSettings,
    state: TrainState,
    queued: VecDeque<Submission>,
}

/// The plans of a split step behind the gradient's.
#[derive(Debug)]
struct SplitPlans {
    sum: Plan,
    optimize: Plan,
    batch_loss: Value,
}

/// What the device says of the steps since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figure {
    /// Loss of the last step.
    pub loss: f64,
    /// Norm of the gradient of the last step, before clipping.
    pub grad_norm: f64,
    /// Sum of the losses since the last call.
    pub loss_sum: f64,
    /// Sum of the norms since the last call.
    pub grad_norm_sum: f64,
    /// Of a classifier: sum of the accuracies since the last call.
    pub accuracy_sum: Option<f64>,
    /// Steps done.
    pub steps: u64,
    /// Steps that updated the parameters.
    pub updates: u64,
    /// Steps that were skipped because a gradient was not finite.
    pub skipped: u64,
}

impl Drafts for StepDraft {
    fn map_drafts(mut self, mut map: impl FnMut(&Draft) -> Result<Draft>) -> Result<Self> {
        self.gradient = map(&self.gradient)?;
        if let Some(split) = &mut self.split {
            split.sum = map(&split.sum)?;
            split.optimize = map(&split.optimize)?;
        }
        Ok(self)
    }
}

impl StepDraft {
    /// Traces and drafts a step.
    ///
    /// # Errors
    /// [`Error::Shape`] from the network, [`Error::Limit`] when a tensor exceeds the device: use smaller micro-batches.
    pub fn new(gpu: &Gpu, network: &dyn Network, settings: &StepSettings) -> Result<Self> {
        let [n, ..] = settings.shape;
        if n == 0 || n > settings.batch {
            let problem = format!("a step has {} images, give 1 to as many", settings.batch);
            return Err(Error::invalid("micro_batch", n, problem));
        }
        let shape = Shape::from(settings.shape);
        let mut graph = Graph::new();
        let g = &mut graph;
        let inputs = LossInputs::new(g, &shape, settings.reduction, network.conditioning());
        let counters = g.state("counters", [COUNTERS], DType::U32);
        let source = Source {
            seed: g.input_u32("seed", [2]),
            images: g.input_u32("image numbers", [n]),
            step: counters,
        };
        let z = match settings.recorded_noise {
            true => g.input("noise", shape.clone()),
            false => philox::normal(g, source, Purpose::PERTURBATION, shape.clone())?,
        };
        let x = inputs.perturbed(g, z)?;
        let output = network.forward(&mut Trace::new(g, WEIGHTS).with_dropout(source), x, inputs.argument)?;
        let loss = inputs.loss(g, output, z)?;
        // Micro-batches replay this graph, so its own sum is that of the whole step.
        let accuracy_sum = match loss.accuracy {
            Some(accuracy) => {
                let sum = g.state("sum of accuracies", [1], DType::F32);
                accumulate(g, sum, accuracy)?;
                Some(sum)
            }
            None => None,
        };

        let wanted = g.parameters("weights");
        let seeds = [(loss.output, loss.seed)];
        let grads = match settings.recompute {
            true => g.backward_recomputing(&seeds, &wanted)?,
            false => g.backward(&seeds, &wanted)?,
        };
        let mut trained = HashSet::new();
        for (&parameter, &gradient) in wanted.iter().zip(&grads) {
            let Some(gradient) = gradient else { continue };
            let name = g.name(parameter).to_owned();
            // One value that is the gradient of several parameters is copied for each: no kernel may read and write one buffer.
            let shared = grads.iter().filter(|other| **other == Some(gradient)).count() > 1;
            if shared || !g.write_to_slot(gradient, "grads", &name) {
                let own = copy(g, gradient)?;
                g.write_to_slot(own, "grads", &name);
            }
            trained.insert(name);
        }
        let limit = gpu.capabilities().max_binding;
        let manifest = network.manifest().clone();
        let layouts = Layouts::new(&manifest, &trained, limit)?;
        let (seed, images) = (source.seed, source.images);
        let values = Values { inputs, seed, images, z, counters, loss: loss.loss, accuracy_sum };

        let device = gpu.capabilities();
        let options = DraftOptions {
            choice: settings.choice.clone(),
            // Where the batch is split the weights are written by another plan, once for all parts.
            parameters_change: n < settings.batch,
            ..DraftOptions::default()
        };
        let draft = |graph: &Graph, outputs: &[Value]| Draft::new(graph, outputs, device, options.clone());
        if n == settings.batch {
            let totals = optimizer(g, &layouts, &settings.adam, "grads", counters, loss.loss)?;
            let gradient = draft(g, &[loss.loss, totals.norm])?;
            return Ok(Self {
                gradient,
                split: None,
                values,
                totals,
                layouts,
                settings: settings.clone(),
                manifest,
            });
        }
        let gradient = draft(g, &[loss.loss])?;
        let g = &mut Graph::new();
        let [part, so_far] = ["loss", "sum of losses"].map(|name| g.state(name, [1], DType::F32));
        accumulate(g, so_far, part)?;
        for (i, elements) in segments(&layouts) {
            let (part, so_far) = (g.segment("grads", i, elements), g.segment("sums", i, elements));
            accumulate(g, so_far, part)?;
        }
        let sum = draft(g, &[])?;
        let g = &mut Graph::new();
        let counters = g.state("counters", [COUNTERS], DType::U32);
        let batch_loss = g.state("loss", [1], DType::F32);
        let totals = optimizer(g, &layouts, &settings.adam, "sums", counters, batch_loss)?;
        let optimize = draft(g, &[totals.norm])?;
        let split = Some(Split { sum, part, so_far, optimize, batch_loss });
        Ok(Self { gradient, split, values, totals, layouts, settings: settings.clone(), manifest })
    }

    /// What a step takes, with all parameter sets.
    pub fn memory(&self) -> Memory {
        let mut memory = self.gradient.memory();
        let sets =
            self.layouts.fixed.bytes() + 2 * self.layouts.all.bytes() + 3 * self.layouts.trained.bytes();
        memory.parameters = sets;
        if let Some(split) = &self.split {
            memory.parameters += self.layouts.trained.bytes();
            for draft in [&split.sum, &split.optimize] {
                memory.shared += draft.memory().shared;
                memory.inputs += draft.memory().inputs;
                memory.uniforms += draft.memory().uniforms;
            }
        }
        memory
    }

    /// Floating-point operations of one step.
    pub fn flops(&self) -> f64 {
        let replays = self.settings.batch.div_ceil(self.settings.shape[0]) as f64;
        let rest = self.split.as_ref().map_or(0.0, |s| replays * s.sum.flops() + s.optimize.flops());
        replays * self.gradient.flops() + rest
    }

    /// The plan of the gradients, which holds the optimizer too unless the batch is split.
    pub fn gradient(&self) -> &Draft {
        &self.gradient
    }

    /// Images of one replay.
    pub fn micro_batch(&self) -> usize {
        self.settings.shape[0]
    }

    /// Allocates and compiles. Weights are zero until [`TrainState::initialise`] or [`TrainState::restore`].
    ///
    /// # Errors
    /// What [`Draft::build`] says.
    pub fn build(&self, gpu: &Gpu) -> Result<TrainStep> {
        let state = TrainState::new(gpu, &self.manifest, &self.layouts, self.split.is_some())?;
        let mut sets = Resources::new()
            .set("weights", &state.weights)
            .set("fixed", &state.fixed)
            .set("ema", &state.ema)
            .set("adam_m", &state.adam_m)
            .set("adam_v", &state.adam_v)
            .set("grads", &state.grads);
        if let Some(sums) = &state.sums {
            sets = sets.set("sums", sums);
        }
        let (gradient, split) = match &self.split {
            None => (self.gradient.build(gpu, sets)?, None),
            Some(split) => {
                let optimize = split.optimize.build(gpu, sets.clone())?;
                let counters = optimize.binding(self.totals.counters)?;
                let gradient = self.gradient.build(gpu, sets.clone().bind(self.values.counters, counters))?;
                let part = gradient.binding(self.values.loss)?;
                let so_far = optimize.binding(split.batch_loss)?;
                let sum = split.sum.build(gpu, sets.bind(split.part, part).bind(split.so_far, so_far))?;
                (gradient, Some(SplitPlans { sum, optimize, batch_loss: split.batch_loss }))
            }
        };
        let step = TrainStep {
            gradient,
            split,
            values: self.values,
            totals: self.totals,
            settings: self.settings.clone(),
            state,
            queued: VecDeque::new(),
        };
        let seed = self.settings.seed;
        if step.gradient.uses(step.values.seed) {
            step.gradient.write_u32(step.values.seed, &[seed as u32, (seed >> 32) as u32])?;
        }
        step.number_images(0)?;
        Ok(step)
    }
}

/// Elements of each segment of what is trained.
fn segments(layouts: &Layouts) -> Vec<(usize, usize)> {
    layouts.trained.segments().iter().map(|&bytes| (bytes / 4) as usize).enumerate().collect()
}

fn accumulate(graph: &mut Graph, sum: Value, part: Value) -> Result<()> {
    let total = add(graph, sum, part)?;
    assign(graph, sum, total)
}

/// Appends clipping, Adam and the moving average over the gradients of the set `from`.
fn optimizer(
    g: &mut Graph,
    layouts: &Layouts,
    settings: &Adam,
    from: &str,
    counters: Value,
    loss: Value,
) -> Result<Totals> {
    let of = |g: &mut Graph, set: &str| -> Vec<Value> {
        segments(layouts).into_iter().map(|(i, elements)| g.segment(set, i, elements)).collect()
    };
    let grads = of(g, from);
    let norm = global_norm(g, &grads)?;
    let [param, m, v, shadow] = ["weights", "adam_m", "adam_v", "ema"].map(|set| of(g, set));
    let all: Vec<Segment> = (0..grads.len())
        .map(|i| Segment { param: param[i], m: m[i], v: v[i], shadow: Some(shadow[i]), grad: grads[i] })
        .collect();
    adam::adam(g, settings, &all, norm, counters)?;
    let sums = ["sum of losses", "sum of norms"].map(|name| g.state(name, [1], DType::F32));
    accumulate(g, sums[0], loss)?;
    accumulate(g, sums[1], norm.norm)?;
    Ok(Totals { counters, loss, norm: norm.norm, sums })
}
