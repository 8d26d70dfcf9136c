//! The identity of ops, over every network of the paper, forward and backward, on every kind of device: ops with equal keys have equal
//! candidates, the order of summation never depends on the number of images, and a draft through a table of its own choices is the same draft.

use std::collections::BTreeMap;

use langevin::gpu::{Capabilities, DeviceKind};
use langevin::graph::{Candidate, Choice, Draft, DraftOptions, Graph};
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

/// A preset's forward pass and the gradient by all its parameters, drafted for `n` images.
fn draft(preset: &str, n: usize, device: &Capabilities) -> Draft {
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
    Draft::new(&g, &outputs, device, DraftOptions::default()).unwrap()
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

#[test]
fn equal_keys_have_equal_candidates_and_orders_do_not_depend_on_the_batch() {
    let mut ops = 0;
    for (name, device) in devices() {
        let mut candidates_of: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut orders_of: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for preset in presets::names() {
            for n in BATCHES {
                for op in draft(preset, n, &device).ops() {
                    let candidates = op.candidates();
                    let own: Vec<String> = candidates.iter().map(signature).collect();
                    let known = candidates_of.entry(op.key.to_string()).or_insert_with(|| own.clone());
                    assert_eq!(*known, own, "{preset} on {name}: {} has other candidates elsewhere", op.key);
                    if candidates.len() > 1 {
                        let own = orders(&candidates);
                        let known = orders_of.entry(op.key.without_images()).or_insert_with(|| own.clone());
                        assert_eq!(*known, own, "{preset} on {name}: the orders of {} depend on n", op.key);
                        ops += 1;
                    }
                }
            }
        }
    }
    assert!(ops > 10_000, "only {ops} ops had a choice");
}

#[test]
fn a_draft_through_its_own_choices_is_the_same_draft() {
    for (name, device) in devices() {
        for preset in ["ve/ncsn/cifar10", "ve/ncsnv2/cifar10", "ve/cifar10_ncsnpp_continuous"] {
            // The last candidates, since the first are taken without a table too.
            for choice in [Choice::Written, Choice::LAST] {
                let first = draft(preset, 3, &device).with_choice(choice).unwrap();
                let again = first.with_choice(Choice::Written.behind(first.choices())).unwrap();
                let names = |draft: &Draft| draft.chosen().iter().map(|c| c.name()).collect::<Vec<_>>();
                assert_eq!(names(&first), names(&again), "{preset} on {name}");
                assert_eq!(again.unmet(), [] as [String; 0]);
            }
        }
    }
}
