//! Builds a case's graph, picks a candidate, runs it on the device.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use langevin::gpu::{Capabilities, Gpu, Options};
use langevin::graph::{
    Candidate, Choice, Choices, Chosen, DType, Draft, DraftOptions, Graph, Plan, Resources, Value,
};

use super::{OpCase, Role};
use crate::environment;
use crate::reference::Tensor;

/// Short enough that every launch is cut into as many slices as the plan has room for.
const SHORTEST: Duration = Duration::from_nanos(1);

/// What one run gave.
pub struct Run {
    /// Outputs and mutated inputs, or gradients.
    pub results: Vec<Vec<f32>>,
    /// The same of a second replay of the same plan, where slices were asked for.
    pub repeated: Vec<Vec<f32>>,
    /// The same with every launch cut, where that was asked for.
    pub sliced: Vec<Vec<f32>>,
    /// Which candidate was picked.
    pub pick: usize,
    /// Most candidates that an op of the graph has.
    pub candidates: usize,
    /// The classes and variants that ran.
    pub kernels: String,
    /// Whether one of them rounds to f16.
    pub reduced: bool,
}

/// A case and what is run of it.
pub struct Runner<'a> {
    case: &'a OpCase,
    inputs: &'a [Tensor],
    upstream: Vec<Tensor>,
    wanted: Option<Vec<usize>>,
    slices: bool,
}

/// A case's graph.
pub struct Traced {
    graph: Graph,
    inputs: Vec<Value>,
    seeds: Vec<Value>,
    targets: Vec<Value>,
}

impl<'a> Runner<'a> {
    /// The op alone.
    pub fn forward(case: &'a OpCase) -> Self {
        Self { case, inputs: &case.inputs, upstream: Vec::new(), wanted: None, slices: false }
    }

    /// The op and its gradients by the inputs `wanted`.
    pub fn backward(case: &'a OpCase, upstream: &[Tensor], wanted: &[usize]) -> Self {
        let (upstream, wanted) = (upstream.to_vec(), Some(wanted.to_vec()));
        Self { case, inputs: &case.inputs, upstream, wanted, slices: false }
    }

    /// On other inputs than the case's own.
    pub fn on(mut self, inputs: &'a [Tensor]) -> Self {
        self.inputs = inputs;
        self
    }

    /// Replays once more whole, and a third time cut into slices.
    pub fn with_slices(mut self) -> Self {
        self.slices = true;
        self
    }

    /// Traces the case.
    pub fn trace(&self) -> Traced {
        let mut graph = Graph::new();
        let mut inputs = Vec::new();
        for (i, (tensor, role)) in self.inputs.iter().zip(&self.case.roles).enumerate() {
            let (name, shape) = (format!("input {i}"), tensor.shape.clone());
            inputs.push(match role {
                Role::Input | Role::Constant => graph.input(&name, shape),
                Role::Parameter => graph.parameter("weights", &name, shape).expect("a name of its own"),
                Role::Integer => graph.input_u32(&name, shape),
                Role::Mutated => graph.state(&name, shape, DType::F32),
                Role::Counter => graph.state(&name, shape, DType::U32),
            });
        }
        let outputs =
            (self.case.trace)(&mut graph, &inputs).unwrap_or_else(|e| panic!("{}: {e}", self.case.name));
        let mutated = (0..inputs.len()).filter(|&i| self.case.roles[i].is_mutated()).map(|i| inputs[i]);
        let mut seeds = Vec::new();
        let targets = match &self.wanted {
            None => outputs.iter().copied().chain(mutated).collect(),
            Some(wanted) => {
                let named = |(i, t): (usize, &Tensor)| (format!("grad_y {i}"), t.shape.clone());
                seeds =
                    self.upstream.iter().enumerate().map(named).map(|(n, s)| graph.input(&n, s)).collect();
                let pairs: Vec<(Value, Value)> = outputs.iter().copied().zip(seeds.iter().copied()).collect();
                let wrt: Vec<Value> = wanted.iter().map(|&i| inputs[i]).collect();
                let grads =
                    graph.backward(&pairs, &wrt).unwrap_or_else(|e| panic!("{}: {e}", self.case.name));
                let present = |(grad, &i): (Option<Value>, &usize)| {
                    grad.unwrap_or_else(|| panic!("{}: no gradient by input {i}", self.case.name))
                };
                grads.into_iter().zip(wanted).map(present).collect()
            }
        };
        Traced { graph, inputs, seeds, targets }
    }

    /// Runs candidate `pick` of every op, or the last one of ops that have fewer. Nothing where no device is allowed for.
    pub fn run(&self, pick: usize) -> Option<Run> {
        let gpu = gpu()?;
        let traced = self.trace();
        let (draft, candidates) = traced.draft(gpu.capabilities(), pick);
        Some(self.replay(gpu, &traced, &draft, pick, candidates))
    }

    /// Runs, of each op whose candidates share an order of summation, all candidates of that order, with the first candidate of every
    /// other op: runs that must have equal bits stand together. Nothing where no device is allowed for.
    pub fn orders(&self) -> Option<Vec<Vec<Run>>> {
        let gpu = gpu()?;
        let traced = self.trace();
        let written = traced.draft_by(gpu.capabilities(), Choice::Written);
        let mut groups = Vec::new();
        let mut seen = BTreeSet::new();
        for op in written.ops().filter(|op| seen.insert(op.key.to_string())) {
            let mut by_order: BTreeMap<String, Vec<Candidate>> = BTreeMap::new();
            for candidate in op.candidates() {
                by_order.entry(candidate.order()).or_default().push(candidate);
            }
            for members in by_order.values().filter(|members| members.len() > 1) {
                let run = |(i, member): (usize, &Candidate)| {
                    let mut table = Choices::default();
                    table.insert(op.key, member);
                    let draft = traced.draft_by(gpu.capabilities(), Choice::Written.with_table(table));
                    let taken = draft.chosen().iter().find(|chosen| chosen.key == *op.key).map(Chosen::name);
                    assert_eq!(taken, Some(member.name()), "{}: the table was not followed", self.case.name);
                    self.replay(gpu, &traced, &draft, i, members.len())
                };
                groups.push(members.iter().enumerate().map(run).collect());
            }
        }
        Some(groups)
    }

    fn replay(&self, gpu: &Gpu, traced: &Traced, draft: &Draft, pick: usize, candidates: usize) -> Run {
        let kernels: Vec<String> = draft.chosen().iter().map(Chosen::name).collect();
        let reduced = draft.chosen().iter().any(|c| c.arithmetic.is_reduced());
        let fail = |e: langevin::Error| -> ! { panic!("{} by {}: {e}", self.case.name, kernels.join(", ")) };
        let mut plan = draft.build(gpu, Resources::new()).unwrap_or_else(|e| fail(e));
        if self.slices {
            // The second replay measures, and the third is cut by that.
            plan.set_dispatch_budget(SHORTEST);
        }
        let mut replay = || -> langevin::Result<Vec<Vec<f32>>> {
            self.write(traced, &mut plan)?;
            plan.run()?;
            assert!(
                plan.guards_hold()?,
                "{} by {}: wrote past an output",
                self.case.name,
                kernels.join(", ")
            );
            traced.targets.iter().map(|&target| traced.read(&plan, target)).collect()
        };
        let results = replay().unwrap_or_else(|e| fail(e));
        let (mut repeated, mut sliced) = (Vec::new(), Vec::new());
        if self.slices {
            repeated = replay().unwrap_or_else(|e| fail(e));
            let mut replay = || -> langevin::Result<Vec<Vec<f32>>> {
                // What an earlier replay left must not stand in for a slice that did not run.
                plan.poison()?;
                self.write(traced, &mut plan)?;
                plan.run()?;
                traced.targets.iter().map(|&target| traced.read(&plan, target)).collect()
            };
            sliced = replay().unwrap_or_else(|e| fail(e));
        }
        Run { results, repeated, sliced, pick, candidates, kernels: kernels.join(", "), reduced }
    }

    fn write(&self, traced: &Traced, plan: &mut Plan) -> langevin::Result<()> {
        for (i, tensor) in self.inputs.iter().enumerate() {
            let value = traced.inputs[i];
            if self.case.roles[i] == Role::Parameter {
                if let Some(weights) = plan.parameters("weights") {
                    weights.write(&format!("input {i}"), &floats(tensor))?;
                }
            } else if !plan.uses(value) {
                // An input that no kept op reads has no memory.
            } else if matches!(self.case.roles[i], Role::Integer | Role::Counter) {
                plan.write_u32(value, &tensor.data.iter().map(|&v| v as u32).collect::<Vec<_>>())?;
            } else {
                plan.write(value, &floats(tensor))?;
            }
        }
        for (&seed, tensor) in traced.seeds.iter().zip(&self.upstream) {
            if plan.uses(seed) {
                plan.write(seed, &floats(tensor))?;
            }
        }
        plan.parameters_changed();
        Ok(())
    }
}

impl Traced {
    /// A value's elements; those of integers by their value.
    fn read(&self, plan: &Plan, value: Value) -> langevin::Result<Vec<f32>> {
        match self.graph.dtype(value) {
            DType::F32 => plan.read(value),
            DType::U32 => Ok(plan.read_u32(value)?.into_iter().map(|v| v as f32).collect()),
        }
    }

    /// The draft by a choice.
    pub fn draft_by(&self, device: &Capabilities, choice: Choice) -> Draft {
        let options = DraftOptions { choice, guards: true, ..DraftOptions::default() };
        Draft::new(&self.graph, &self.targets, device, options).unwrap_or_else(|e| panic!("{e}"))
    }

    /// The draft with candidate `pick` of every op, and the most candidates that an op has.
    pub fn draft(&self, device: &Capabilities, pick: usize) -> (Draft, usize) {
        let draft = self.draft_by(device, Choice::Nth(pick));
        let most = draft.chosen().iter().map(|chosen| chosen.of).max().unwrap_or(1);
        (draft, most)
    }
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.data.iter().map(|&v| v as f32).collect()
}

/// How the tests open a device: the environment may choose one, and nothing is kept on disk.
pub fn options() -> Options {
    let given = environment::options().unwrap_or_else(|e| panic!("{}: {e}", environment::KERNELS));
    Options { cooperative: false, cache_folder: None, ..given }
}

/// The device of all tests. Without one the test fails and says what to install, unless `LANGEVIN_ALLOW_NO_GPU=1`, which counts
/// what was left out.
pub fn gpu() -> Option<&'static Gpu> {
    static GPU: OnceLock<Mutex<Result<&'static Gpu, String>>> = OnceLock::new();
    static LEFT_OUT: AtomicUsize = AtomicUsize::new(0);
    // With what is experimental too, where the device has it: its kernels are candidates like others.
    let options = Options { cooperative: true, ..options() };
    let open = || Gpu::open(&options).map(|gpu| &*Box::leak(Box::new(gpu))).map_err(|e| e.to_string());
    let opened = GPU.get_or_init(|| Mutex::new(open()));
    let opened = opened.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
    match opened {
        Ok(gpu) => Some(gpu),
        Err(_) if environment::is_on("LANGEVIN_ALLOW_NO_GPU") => {
            let count = LEFT_OUT.fetch_add(1, Ordering::Relaxed) + 1;
            eprintln!("LANGEVIN_ALLOW_NO_GPU: {count} runs left out so far");
            None
        }
        Err(problem) => panic!("{problem}"),
    }
}
