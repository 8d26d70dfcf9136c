//! The largest networks of the paper, one image at a time. Their memory is checked on paper always; that they run takes minutes on a
//! software adapter, so it is done where `LANGEVIN_LARGE=1` asks for it.

use std::time::Instant;

use langevin::graph::{Choice, Draft, DraftOptions, Graph, Resources};
use langevin::models::{self, presets};
use langevin::nn::Trace;
use langevin::random::Stream;
use langevin::training::{Reduction, StepDraft, StepSettings, adam_of};

/// What a network for one image may take.
const MOST: u64 = 8 << 30;

#[test]
fn one_image_of_the_largest_networks_takes_at_most_8_gib() {
    let Some(gpu) = super::gpu() else { return };
    let run = std::env::var_os("LANGEVIN_LARGE").is_some_and(|v| v == "1");
    // With recomputation: MiB of activations and workspaces, half of what a step would keep if it kept all activations.
    for (name, half) in [("ve/church_ncsnpp_continuous", 849), ("ve/ffhq_ncsnpp_continuous", 1919)] {
        let config = presets::get(name).unwrap();
        let network = models::build(&config).unwrap();
        let size = config.data.image_size;
        let mut settings = StepSettings {
            shape: [1, size, size, 3],
            batch: 1,
            reduction: Reduction::of(&config),
            adam: adam_of(&config),
            seed: 1,
            recorded_noise: false,
            recompute: false,
            choice: Choice::Written,
        };
        let kept = StepDraft::new(&gpu, &network, &settings).unwrap().memory();
        settings.recompute = true;
        let recomputed = StepDraft::new(&gpu, &network, &settings).unwrap().memory();
        assert!(kept.total() <= MOST, "{name}: {kept}");
        assert!(recomputed.shared < half << 20, "{name}: {recomputed}");
        // What lies between a norm and its convolution is never kept, and so nothing that recomputation could save.
        assert!(recomputed.shared < kept.shared * 3 / 5, "{name}: {kept}, {recomputed}");

        let mut graph = Graph::new();
        let (x, time) = (graph.input("x", [1, size, size, 3]), graph.input("time", [1]));
        let y = network.forward(&mut Trace::new(&mut graph, "weights"), x, time).unwrap();
        let draft = Draft::new(&graph, &[y], gpu.capabilities(), DraftOptions::default()).unwrap();
        println!("{name}: a forward pass of {:.0} GFLOP takes {}", draft.flops() / 1e9, draft.memory());
        assert!(draft.memory().total() <= MOST, "{name}: {}", draft.memory());
        if !run {
            println!("{name}: not run; LANGEVIN_LARGE=1 runs it");
            continue;
        }
        let mut plan = draft.build(&gpu, Resources::new()).unwrap();
        for (spec, values) in network.manifest().initialise(1) {
            let set = plan.parameters(if spec.trainable { "weights" } else { "fixed" }).unwrap();
            if set.layout().slot(&spec.name).is_some() {
                set.write(&spec.name, &values).unwrap();
            }
        }
        let mut noise = Stream::new(2, 0, 0);
        let image: Vec<f32> = (0..3 * size * size).map(|_| 50.0 * noise.normal() as f32).collect();
        plan.write(x, &image).unwrap();
        plan.write(time, &[50.0]).unwrap();
        let start = Instant::now();
        plan.run().unwrap();
        let y = plan.read(y).unwrap();
        println!("{name}: {:.1} s with compilation", start.elapsed().as_secs_f64());
        assert!(y.iter().all(|v| v.is_finite()) && y.iter().any(|&v| v != 0.0), "{name}");
    }
}
