//! What the engine promises of every plan: memory, replays, bits, and errors in place of panics.

use std::process::Command;
use std::time::Duration;

use langevin::gpu::{Capabilities, Gpu, Options};
use langevin::graph::{
    Candidate, Choice, Draft, DraftOptions, Graph, Io, Launch, Op, Operand, Plan, Resources, Value,
};
use langevin::models::{self, Weights, presets};
use langevin::nn::Trace;
use langevin::ops::adam::Adam;
use langevin::ops::conv2d::{Conv2d, Epilogue, conv2d};
use langevin::ops::elementwise;
use langevin::ops::sampler_step::Norm;
use langevin::sampling::coefficients::{Corrector, PcOptions, PcTable, Predictor};
use langevin::sampling::run::{ImageSeed, Method, SamplerDraft};
use langevin::score::{ModelScore, NetworkModel};
use langevin::training::{Reduction, StepDraft, StepSettings, sde_of, time_of};
use langevin::{Error, Result};

use crate::harness;
use crate::reference::Tensor;

/// A few convolutions with a skip connection, and the gradients by image and weights.
struct Network {
    graph: Graph,
    x: Value,
    seed: Value,
    targets: Vec<Value>,
}

const CHANNELS: usize = 12;
const IMAGES: [usize; 4] = [2, 12, 12, CHANNELS];

fn network(depth: usize) -> Result<Network> {
    let mut g = Graph::new();
    let x = g.input("x", IMAGES);
    let mut h = x;
    let mut wanted = vec![x];
    for i in 0..depth {
        let weight = g.parameter("weights", &format!("conv_{i}.weight"), [CHANNELS, CHANNELS, 3, 3])?;
        let bias = g.parameter("weights", &format!("conv_{i}.bias"), [CHANNELS])?;
        wanted.extend([weight, bias]);
        let y = conv2d(&mut g, h, None, weight, Conv2d::same(3), Epilogue::bias(bias))?;
        h = elementwise::combine(&mut g, &[(y, 0.5), (h, 0.5)])?;
    }
    let seed = g.input("seed", IMAGES);
    let gradients = g.backward(&[(h, seed)], &wanted)?;
    let targets = std::iter::once(h).chain(gradients.into_iter().flatten()).collect();
    Ok(Network { graph: g, x, seed, targets })
}

impl Network {
    fn draft(&self, gpu: &Gpu) -> Result<Draft> {
        Draft::new(&self.graph, &self.targets, gpu.capabilities(), DraftOptions::default())
    }

    fn plan(&self, gpu: &Gpu) -> Result<Plan> {
        let plan = self.draft(gpu)?.build(gpu, Resources::new())?;
        let weights = plan.parameters("weights").expect("the network has weights");
        for (i, slot) in weights.layout().slots().iter().enumerate() {
            let values = Tensor::normal(slot.shape.dims(), i as u64).scaled(0.1);
            weights.write(&slot.name, &values.data.iter().map(|&v| v as f32).collect::<Vec<_>>())?;
        }
        for (value, seed) in [(self.x, 100), (self.seed, 101)] {
            let values = Tensor::normal(&IMAGES, seed);
            plan.write(value, &values.data.iter().map(|&v| v as f32).collect::<Vec<_>>())?;
        }
        Ok(plan)
    }

    fn bits(&self, plan: &Plan) -> Result<Vec<Vec<u32>>> {
        self.targets.iter().map(|&t| Ok(plan.read(t)?.iter().map(|v| v.to_bits()).collect())).collect()
    }
}

/// A device of this test alone, so that its counters count this test alone.
fn own_gpu() -> Option<Gpu> {
    harness::gpu()?;
    Some(Gpu::open(&harness::options()).expect("the device opened a moment ago"))
}

#[test]
fn a_plan_takes_the_memory_that_its_draft_announced() {
    let Some(gpu) = own_gpu() else { return };
    let network = network(4).unwrap();
    let announced = network.draft(&gpu).unwrap().memory();
    let before = gpu.counters().buffer_bytes;
    let plan = network.plan(&gpu).unwrap();
    assert_eq!(gpu.counters().buffer_bytes - before, announced.total(), "{announced}");
    assert_eq!(plan.memory(), announced);
}

#[test]
fn shared_memory_is_near_the_least_possible() {
    let Some(gpu) = harness::gpu() else { return };
    for depth in [1, 3, 10] {
        let memory = network(depth).unwrap().draft(gpu).unwrap().memory();
        let least = memory.total() - memory.shared + memory.peak;
        assert!(memory.total() as f64 <= 1.25 * least as f64, "depth {depth}: {memory:?}");
    }
}

/// The paper's CIFAR-10 networks, forward and in training with optimizer state: on paper, nothing is allocated.
#[test]
fn plans_of_real_networks_take_little_more_than_the_least_possible() {
    let Some(gpu) = harness::gpu() else { return };
    for name in ["ve/cifar10_ncsnpp_continuous", "vp/cifar10_ddpmpp_continuous", "ve/ncsnv2/cifar10"] {
        let network = models::build(&presets::get(name).unwrap()).unwrap();
        let mut graph = Graph::new();
        let (x, time) = (graph.input("x", [4, 32, 32, 3]), graph.input("time", [4]));
        let y = network.forward(&mut Trace::new(&mut graph, "weights"), x, time).unwrap();
        let forward = Draft::new(&graph, &[y], gpu.capabilities(), DraftOptions::default()).unwrap();
        let settings = StepSettings {
            shape: [4, 32, 32, 3],
            batch: 4,
            reduction: Reduction::Mean,
            adam: Adam {
                lr: 2e-4,
                beta1: 0.9,
                beta2: 0.999,
                eps: 1e-8,
                weight_decay: 0.0,
                warmup: 5000,
                grad_clip: 1.0,
                ema_rate: 0.999,
            },
            seed: 1,
            recorded_noise: false,
            recompute: false,
            choice: Choice::Written,
        };
        let training = StepDraft::new(gpu, network.as_ref(), &settings).unwrap().memory();
        let settings = StepSettings { recompute: true, ..settings };
        let recomputing = StepDraft::new(gpu, network.as_ref(), &settings).unwrap().memory();
        let share = recomputing.shared as f64 / training.shared as f64;
        assert!(share < 0.6, "{name}: with recomputation {share:.3} of {training}");
        for (what, memory) in
            [("forward", forward.memory()), ("training", training), ("recomputing", recomputing)]
        {
            let least = memory.total() - memory.shared + memory.peak;
            let share = memory.total() as f64 / least as f64;
            assert!(share <= 1.25, "{name}, {what}: {share:.3} times the least, {memory}");
        }
    }
}

#[test]
fn replays_create_nothing_and_read_nothing_back() {
    let Some(gpu) = own_gpu() else { return };
    let mut plan = network(2).unwrap().plan(&gpu).unwrap();
    // The first two warm up and measure; what is cut then has bind groups of its own.
    plan.replay(3).unwrap();
    let before = gpu.counters();
    plan.replay(1000).unwrap();
    gpu.wait().unwrap();
    let after = gpu.counters();
    assert_eq!(
        (after.buffers, after.buffer_bytes, after.pipelines, after.bind_groups, after.read_backs),
        (before.buffers, before.buffer_bytes, before.pipelines, before.bind_groups, before.read_backs)
    );
}

/// A small NCSN++ through 1,000 predictor-corrector steps: the result is all that is read back, and no object is made.
#[test]
fn a_thousand_sampling_steps_read_back_the_result_alone() {
    let Some(gpu) = own_gpu() else { return };
    let mut config = presets::get("ve/cifar10_ncsnpp_continuous").unwrap();
    for (key, value) in [
        ("data.image_size", "8"),
        ("model.nf", "8"),
        ("model.ch_mult", "[1, 1]"),
        ("model.num_res_blocks", "1"),
        ("model.attn_resolutions", "[4]"),
    ] {
        config.set(key, value).unwrap();
    }
    let network = models::build(&config).unwrap();
    let weights = Weights::initial(&gpu, network.manifest(), 1).unwrap();
    let model = NetworkModel::new(network.as_ref());
    let score = ModelScore { model, unscaled: true };
    let sde = sde_of(&config).unwrap();
    let table = PcTable::new(&PcOptions {
        sde: sde.with_n(1000).unwrap(),
        time: time_of(&config),
        predictor: Predictor::ReverseDiffusion,
        corrector: Corrector::Langevin,
        snr: 0.16,
        n_steps_each: 1,
        probability_flow: false,
        denoise: true,
        t_eps: sde.default_t_eps(),
    })
    .unwrap();
    let method = Method::Pc { table: &table, norm: Norm::default(), constraint: None };
    let draft = SamplerDraft::new(&gpu, &score, method, [1, 8, 8, 3], Choice::Written).unwrap();
    let mut sampler = draft.build(&gpu, weights.resources()).unwrap();
    let mut run = |until: usize| {
        let mut done = 0;
        let image = ImageSeed { seed: 1, image: 0 };
        let result = sampler.run(&[image], &mut |steps| {
            done = steps;
            done < until
        });
        (result.unwrap().is_some(), done)
    };
    // Twice begun: then the plan of the step and that of the starting point are warm and measured.
    assert_eq!((run(3), run(3)), ((false, 3), (false, 3)));
    let before = gpu.counters();
    assert_eq!(run(1001), (true, 1000));
    let after = gpu.counters();
    assert_eq!(after.read_backs - before.read_backs, 1);
    assert_eq!(
        (after.buffers, after.pipelines, after.bind_groups),
        (before.buffers, before.pipelines, before.bind_groups)
    );
}

/// What a plan takes as a whole, by launch and by dispatch: the same replay seen three ways, whatever the clock.
#[test]
fn times_of_a_plan_agree() {
    let Some(gpu) = own_gpu() else { return };
    let network = network(2).unwrap();
    let mut plan = network.plan(&gpu).unwrap();
    plan.set_dispatch_budget(Duration::from_nanos(1));
    assert!(plan.time(3).unwrap() > Duration::ZERO);
    let slices = plan.slices().unwrap();
    let launches = plan.profile().unwrap();
    assert!(slices.len() > launches.len(), "{} dispatches of {} launches", slices.len(), launches.len());
    let flops = |list: &[(String, Duration, f64)]| list.iter().map(|(_, _, f)| f).sum::<f64>();
    assert!((flops(&slices) / flops(&launches) - 1.0).abs() < 1e-9);
    let sum: Duration = launches.iter().map(|(_, time, _)| *time).sum();
    assert!(launches.iter().all(|(label, ..)| label.contains(' ')) && sum > Duration::ZERO);
    assert!(plan.longest_submission() > Duration::ZERO && plan.longest_submission() < Duration::from_secs(1));
    assert_eq!(gpu.counters().read_backs, 0);
}

/// The resident memory of this process in bytes.
fn resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/statm").ok()?;
    status.split_whitespace().nth(1)?.parse().ok()
}

const CHILD: &str = "LANGEVIN_TEST_CHILD";

/// In a process of its own, since other tests allocate at the same time.
#[test]
fn resident_memory_is_flat_over_replays() {
    if std::env::var_os(CHILD).is_none() {
        let this = std::env::current_exe().expect("the test has a path");
        let name = "engine::resident_memory_is_flat_over_replays";
        let status = Command::new(this).args([name, "--exact"]).env(CHILD, "1").status();
        assert!(status.expect("the test starts itself").success());
        return;
    }
    let Some(gpu) = own_gpu() else { return };
    let mut plan = network(2).unwrap().plan(&gpu).unwrap();
    let mut replay = |count| {
        plan.replay(count).unwrap();
        gpu.wait().unwrap();
    };
    replay(100);
    let Some(before) = resident() else { return };
    replay(900);
    let after = resident().expect("it was there before");
    assert!((after / before - 1.0).abs() <= 0.01, "{before} pages, then {after}");
}

#[test]
fn a_plan_gives_the_same_bits_twice_and_cut() {
    let Some(gpu) = harness::gpu() else { return };
    let network = network(3).unwrap();
    let run = |budget: Option<Duration>| {
        let mut plan = network.plan(gpu).unwrap();
        if let Some(budget) = budget {
            plan.set_dispatch_budget(budget);
        }
        plan.replay(3).unwrap();
        network.bits(&plan).unwrap()
    };
    let whole = run(None);
    assert!(whole.iter().flatten().all(|&bits| f32::from_bits(bits).is_finite()));
    assert!(whole == run(None), "another plan, other bits");
    assert!(whole == run(Some(Duration::from_millis(1))), "cut at 1 ms, other bits");
    assert!(whole == run(Some(Duration::from_nanos(1))), "cut as far as it goes, other bits");
}

/// The shaders' own bounds checks find nothing to change: bits are the same with them and without.
#[test]
fn runtime_checks_change_no_bit() {
    let (Some(gpu), network) = (harness::gpu(), network(3).unwrap()) else { return };
    let checked =
        Gpu::open(&Options { checked: true, ..harness::options() }).expect("the device opened a moment ago");
    let run = |gpu: &Gpu| {
        let mut plan = network.plan(gpu).unwrap();
        plan.run().unwrap();
        network.bits(&plan).unwrap()
    };
    assert!(run(gpu) == run(&checked));
}

#[test]
fn two_plans_share_a_parameter_set() {
    let Some(gpu) = harness::gpu() else { return };
    let network = network(2).unwrap();
    let mut first = network.plan(gpu).unwrap();
    let weights = first.parameters("weights").expect("the network has weights").clone();
    let mut second =
        network.draft(gpu).unwrap().build(gpu, Resources::new().set("weights", &weights)).unwrap();
    for value in [network.x, network.seed] {
        second.write(value, &first.read(value).unwrap()).unwrap();
    }
    first.run().unwrap();
    second.run().unwrap();
    assert!(network.bits(&first).unwrap() == network.bits(&second).unwrap());
}

#[test]
fn a_tensor_over_the_binding_limit_is_refused_with_the_figures() {
    let Some(gpu) = harness::gpu() else { return };
    let small = Capabilities { max_binding: 1 << 10, ..gpu.capabilities().clone() };
    let network = network(1).unwrap();
    let refused = Draft::new(&network.graph, &network.targets, &small, DraftOptions::default());
    let Err(Error::Limit { needed, limit, .. }) = refused else { panic!("not refused: {refused:?}") };
    assert!(limit == 1 << 10 && needed > limit);
}

#[test]
fn a_buffer_over_the_limit_is_refused() {
    let Some(gpu) = harness::gpu() else { return };
    let refused = gpu.buffer("too large", gpu.capabilities().max_buffer + 1);
    assert!(matches!(refused, Err(Error::Limit { .. })), "{refused:?}");
}

#[test]
fn an_unknown_device_is_refused_with_those_that_there_are() {
    let Some(gpu) = harness::gpu() else { return };
    let refused = Gpu::open(&Options { device: Some("no such device".into()), ..harness::options() });
    let Err(Error::UnknownDevice { known, .. }) = refused else { panic!("not refused: {refused:?}") };
    assert!(known.contains(&gpu.adapter().name), "{known}");
}

#[test]
fn a_wrong_seed_and_a_parameter_of_two_shapes_are_refused() {
    let mut g = Graph::new();
    let (x, seed) = (g.input("x", [3]), g.input("seed", [4]));
    let y = elementwise::scale(&mut g, x, 2.0).unwrap();
    assert!(matches!(g.backward(&[(y, seed)], &[x]), Err(Error::Shape { .. })));
    g.parameter("weights", "w", [2]).unwrap();
    let refused = g.parameter("weights", "w", [3]).unwrap_err().to_string();
    assert!(refused.contains('2') && refused.contains('3') && refused.contains('w'), "{refused}");
    let refused = elementwise::add(&mut g, x, seed).unwrap_err().to_string();
    assert!(refused.contains("elementwise") && refused.contains('3') && refused.contains('4'), "{refused}");
}

/// An op whose kernel no driver takes.
#[derive(Debug)]
struct Broken(&'static str);

impl Op for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn candidates(&self, _: &Io, _: &Capabilities) -> Vec<Candidate> {
        vec![Candidate::plain(vec![Launch::new(self.0).read(Operand::Input(0)).write(Operand::Output(0))])]
    }
}

/// A missing file, and one whose constants are missing: typed errors, and the device goes on working.
#[test]
fn a_refused_shader_is_an_error_and_not_the_end() {
    let Some(gpu) = own_gpu() else { return };
    for shader in ["broken/nothing.wgsl", "elementwise/mul.wgsl"] {
        let mut g = Graph::new();
        let x = g.input("x", [4]);
        let y = g.push1(Broken(shader), &[x], [4]);
        let draft = Draft::new(&g, &[y], gpu.capabilities(), DraftOptions::default()).unwrap();
        let refused = draft.build(&gpu, Resources::new());
        assert!(matches!(refused, Err(Error::Pipeline { .. })), "{shader}: {refused:?}");
    }
    let network = network(1).unwrap();
    let mut plan = network.plan(&gpu).unwrap();
    plan.run().unwrap();
    assert!(plan.read(network.targets[0]).unwrap().iter().all(|v| v.is_finite()));
}

#[test]
fn a_write_of_the_wrong_size_is_refused() {
    let Some(gpu) = harness::gpu() else { return };
    let network = network(1).unwrap();
    let plan = network.plan(gpu).unwrap();
    assert!(matches!(plan.write(network.x, &[1.0]), Err(Error::Shape { .. })));
    let weights = plan.parameters("weights").expect("the network has weights");
    assert!(matches!(weights.write("conv_0.bias", &[1.0]), Err(Error::Shape { .. })));
    assert!(matches!(weights.write("nothing", &[1.0]), Err(Error::UnknownName { .. })));
}
