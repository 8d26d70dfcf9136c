//! The identity of ops, over every network of the paper, forward and backward, on every kind of device: ops with equal keys have equal
//! candidates, the order of summation never depends on the number of images, and a draft through a table of its own choices is the same draft.

use std::collections::BTreeMap;

use langevin::gpu::{Capabilities, DeviceKind};
use langevin::graph::{Candidate, Choice, Draft, DraftOptions, DraftedOp, Graph, Value};
use langevin::models::{self, presets};
use langevin::nn::Trace;

/// The numbers of images that are compared.
const BATCHES: [usize; 2] = [1, 12];

fn devices() -> Vec<(&'static str, Capabilities)> {
    let device = |kind, f16: bool, subgroups| Capabilities {
        kind,
        // No limit: what is compared here is not what fits.
        max_binding: 1 << 40,
        max_buffer: 1 << 40,
        workgroup_memory: 48 << 10,
        max_invocations: 1024,
        f16,
        subgroups,
        cooperative: f16.then_some(16),
        timestamps: false,
        uniform_alignment: 256,
    };
    vec![
        ("software", device(DeviceKind::Software, false, Some((8, 8)))),
        ("integrated", device(DeviceKind::Integrated, true, None)),
        ("discrete", device(DeviceKind::Discrete, true, Some((32, 32)))),
    ]
}

/// A preset's forward pass and the gradient by all its parameters, for `n` images, with its outputs.
fn trace(preset: &str, n: usize) -> (Graph, Vec<Value>) {
    let config = presets::get(preset).unwrap();
    let network = models::build(&config).unwrap();
    let size = config.data.image_size;
    let mut g = Graph::new();
    let (x, time) = (g.input("x", [n, size, size, config.data.num_channels]), g.input("time", [n]));
    let y = network.forward(&mut Trace::new(&mut g, "weights"), x, time).unwrap();
    let seed = g.input("seed", g.shape(y).clone());
    let wanted: Vec<_> = [x].into_iter().chain(g.parameters("weights")).collect();
    let grads = g.backward(&[(y, seed)], &wanted).unwrap();
    let outputs: Vec<_> = [y].into_iter().chain(grads.into_iter().flatten()).collect();
    (g, outputs)
}

fn draft((graph, outputs): &(Graph, Vec<Value>), device: &Capabilities) -> Draft {
    Draft::new(graph, outputs, device, DraftOptions::default()).unwrap()
}

/// All that a candidate is but the numbers in its uniform blocks.
fn signature(candidate: &Candidate) -> String {
    let launches = candidate.prepare.iter().chain(&candidate.launches);
    let kernels: Vec<String> =
        launches.map(|l| format!("{} {:?} {:?}", l.kernel.label(), l.operands, l.grid)).collect();
    format!(
        "{} by {} of {:?}: {:?} {:?} {}",
        candidate.name(),
        candidate.order(),
        candidate.arithmetic,
        candidate.prepared,
        candidate.workspaces,
        kernels.join("; ")
    )
}

/// The orders of summation, each once, as the candidates come.
fn orders(candidates: &[Candidate]) -> Vec<String> {
    let mut orders: Vec<String> = candidates.iter().map(Candidate::order).collect();
    orders.dedup();
    orders
}

/// What was seen on one device.
#[derive(Default)]
struct Known {
    /// Of every definition of an op, whether it had a choice.
    defined: BTreeMap<String, bool>,
    candidates: BTreeMap<String, Vec<String>>,
    orders: BTreeMap<String, Vec<String>>,
    /// Ops that had a choice.
    ops: usize,
}

impl Known {
    /// Networks repeat their layers, so what has been compared is not compared again.
    fn compare(&mut self, op: &DraftedOp<'_>, place: &str) {
        let definition = format!("{} {}", op.definition(), op.key);
        if let Some(&choice) = self.defined.get(&definition) {
            self.ops += usize::from(choice);
            return;
        }
        let candidates = op.candidates();
        let own: Vec<String> = candidates.iter().map(signature).collect();
        let known = self.candidates.entry(op.key.to_string()).or_insert_with(|| own.clone());
        assert_eq!(*known, own, "{place}: {} has other candidates elsewhere", op.key);
        if candidates.len() > 1 {
            let own = orders(&candidates);
            let known = self.orders.entry(op.key.without_images()).or_insert_with(|| own.clone());
            assert_eq!(*known, own, "{place}: the orders of {} depend on n", op.key);
            self.ops += 1;
        }
        self.defined.insert(definition, candidates.len() > 1);
    }
}

#[test]
fn equal_keys_have_equal_candidates_and_orders_do_not_depend_on_the_batch() {
    let devices = devices();
    let mut known: Vec<Known> = devices.iter().map(|_| Known::default()).collect();
    for preset in presets::names() {
        for n in BATCHES {
            let traced = trace(preset, n);
            for ((name, device), known) in devices.iter().zip(&mut known) {
                let draft = draft(&traced, device);
                draft.ops().for_each(|op| known.compare(&op, &format!("{preset} on {name}")));
            }
        }
    }
    let (ops, different) = known.iter().fold((0, 0), |(ops, all), k| (ops + k.ops, all + k.defined.len()));
    assert!(ops > 10_000, "only {ops} ops had a choice");
    assert!(different > 1_000, "only {different} ops that differ");
}

#[test]
fn a_draft_through_its_own_choices_is_the_same_draft() {
    for preset in ["ve/ncsn/cifar10", "ve/ncsnv2/cifar10", "ve/cifar10_ncsnpp_continuous"] {
        let traced = trace(preset, 3);
        for (name, device) in devices() {
            // The last candidates, since the first are taken without a table too.
            for choice in [Choice::Written, Choice::LAST] {
                let first = draft(&traced, &device).with_choice(choice).unwrap();
                let again = first.with_choice(Choice::Written.with_table(first.choices())).unwrap();
                let names = |draft: &Draft| draft.chosen().iter().map(|c| c.name()).collect::<Vec<_>>();
                assert_eq!(names(&first), names(&again), "{preset} on {name}");
                assert_eq!(again.unmet(), [] as [String; 0]);
            }
        }
    }
}
