//! Networks, training steps and sampling steps as workloads.

use super::case::{Built, Data, Workload, numbers};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::graph::{Drafts, Graph, Kernels};
use crate::models::{self, Config, Network, presets};
use crate::nn::Trace;
use crate::nn::trace::WEIGHTS;
use crate::ops::philox::Source;
use crate::ops::sampler_step::Norm;
use crate::random::Stream;
use crate::sampling::coefficients::{Corrector, PcOptions, PcTable, Predictor};
use crate::sampling::draws::Draws;
use crate::sampling::pc::{PcSetting, PcStep};
use crate::score::{ModelScore, NetworkModel};
use crate::training::{Objective, Reduction, StepBatch, StepDraft, StepSettings, adam_of, sde_of, time_of};

/// A preset whose network begins with weights everywhere: zeros, as the paper has them in places, would hide mistakes.
fn open(preset: &str) -> Result<(Config, Box<dyn Network>)> {
    let mut config = presets::get(preset)?;
    config.set("model.init_scale", "1.0")?;
    let network = models::build(&config)?;
    Ok((config, network))
}

fn image_shape(config: &Config, n: usize) -> [usize; 4] {
    [n, config.data.image_size, config.data.image_size, config.data.num_channels]
}

/// One forward pass.
pub(super) fn forward(preset: &str, n: usize) -> Result<Workload> {
    let (config, network) = open(preset)?;
    let mut g = Graph::new();
    let (x, time) = (g.input("x", image_shape(&config, n)), g.input("time", [n]));
    let y = network.forward(&mut Trace::new(&mut g, WEIGHTS), x, time)?;
    // Noise levels (or labels) near the data, one for each image.
    let times = Data::F32((0..n).map(|i| 1.0 + i as f32).collect());
    Ok(Workload::new(g, vec![y]).filled(x).with(time, times).initialised(network.manifest()))
}

/// One predictor-corrector step: reverse diffusion and Langevin, as the paper samples.
pub(super) fn predictor_corrector(preset: &str, n: usize) -> Result<Workload> {
    let (config, network) = open(preset)?;
    let model = NetworkModel::new(network.as_ref());
    let score = ModelScore { model, unscaled: true };
    let sde = sde_of(&config)?;
    let pc = PcTable::new(&PcOptions {
        sde: sde.with_n(sde.n())?,
        time: time_of(&config),
        predictor: Predictor::ReverseDiffusion,
        corrector: Corrector::Langevin,
        snr: config.sampling.snr,
        n_steps_each: 1,
        probability_flow: false,
        denoise: true,
        t_eps: sde.default_t_eps(),
    })?;
    let mut g = Graph::new();
    let table = PcStep::table(&mut g, pc.rows.len());
    let source = Source {
        seed: g.input_u32("seeds", [n, 2]),
        images: g.input_u32("images", [n]),
        step: table.counter,
    };
    let setting =
        PcSetting { score: &score, pc: &pc, norm: Norm::default(), counted: None, constraint: None };
    let shape = image_shape(&config, n).into();
    let step = PcStep::trace(&mut g, setting, table, &shape, Draws::Philox(source))?;
    let start = numbers(shape.elements(), 0).into_iter().map(|v| v * pc.prior_std as f32).collect();
    Ok(Workload::new(g, vec![step.x, step.mean])
        .with(step.x, Data::F32(start))
        .with(table.rows, Data::F32(PcStep::table_data(&pc)))
        .with(table.counter, Data::U32(vec![0]))
        .with(source.seed, Data::U32([5, 0].repeat(n)))
        .with(source.images, Data::U32((0..n as u32).collect()))
        .initialised(network.manifest()))
}

/// One training step, which has run once.
pub(super) fn training(gpu: &Gpu, preset: &str, n: usize, kernels: &Kernels) -> Result<Built> {
    let (config, network) = open(preset)?;
    let shape = image_shape(&config, n);
    let settings = StepSettings {
        shape,
        batch: n,
        reduction: Reduction::of(&config),
        adam: adam_of(&config),
        seed: 7,
        recorded_noise: false,
        recompute: false,
        choice: kernels.choice.clone(),
    };
    let draft = StepDraft::new(gpu, network.as_ref(), &settings)?.tuned(kernels.tuner.as_ref())?;
    let mut step = draft.build(gpu)?;
    step.state().initialise(network.manifest(), 7)?;
    let objective = Objective::of(&config)?;
    let mut stream = Stream::new(7, 0, 0);
    let rows: Result<Vec<_>> = (0..n).map(|_| objective.row(objective.draw(&mut stream))).collect();
    let images = numbers(shape.iter().product(), 0);
    step.run(&StepBatch { images: &images, rows: &rows?, noise: None })?;
    Ok(Built::of_step(step, draft.gradient(), draft.flops(), draft.memory().total()))
}
