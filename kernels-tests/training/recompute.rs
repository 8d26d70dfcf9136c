//! A step that computes activations again is the same step by less memory.

use langevin::gpu::Gpu;
use langevin::graph::{Choice, ParameterSet};
use langevin::models::{self, Config, presets};
use langevin::random::Stream;
use langevin::training::{Objective, Reduction, StepBatch, StepDraft, StepSettings, adam_of};

const IMAGES: usize = 2;

/// Loss and gradients of one step over random weights, by their bits, and the bytes of what shares memory.
fn step(gpu: &Gpu, config: &Config, recompute: bool) -> (Vec<u32>, u64) {
    let network = models::build(config).unwrap();
    let size = config.data.image_size;
    let settings = StepSettings {
        shape: [IMAGES, size, size, config.data.num_channels],
        batch: IMAGES,
        reduction: Reduction::of(config),
        adam: adam_of(config),
        seed: 7,
        recorded_noise: false,
        recompute,
        choice: Choice::Written,
    };
    let draft = StepDraft::new(gpu, &network, &settings).unwrap();
    let mut step = draft.build(gpu).unwrap();
    step.state().initialise(network.manifest(), 1).unwrap();
    // The authors begin some convolutions near zero, which would hide what stands before them.
    let weights = &step.state().weights;
    for (i, slot) in weights.layout().slots().iter().enumerate() {
        weights.write(&slot.name, &uniform(i as u32, slot.shape.elements(), 0.3)).unwrap();
    }
    step.parameters_changed();
    let objective = Objective::of(config).unwrap();
    let mut levels = Stream::new(7, 1, 0);
    let rows: Vec<_> = (0..IMAGES).map(|_| objective.row(objective.draw(&mut levels)).unwrap()).collect();
    let images = uniform(1000, IMAGES * size * size * config.data.num_channels, 1.0);
    step.run(&StepBatch { images: &images, rows: &rows, noise: None }).unwrap();
    let figure = step.figure().unwrap();
    assert!(figure.loss > 0.0 && figure.grad_norm > 0.0, "{figure:?}");
    let mut bits = vec![(figure.loss as f32).to_bits()];
    bits.extend(gradients(&step.state().grads));
    (bits, draft.memory().shared)
}

fn gradients(set: &ParameterSet) -> Vec<u32> {
    let of = |name: &str| set.read(name).unwrap().into_iter().map(f32::to_bits).collect::<Vec<_>>();
    set.layout().slots().iter().flat_map(|slot| of(&slot.name)).collect()
}

fn uniform(part: u32, elements: usize, scale: f32) -> Vec<f32> {
    let mut stream = Stream::new(11, 0, part);
    (0..elements).map(|_| scale * (2.0 * stream.uniform() as f32 - 1.0)).collect()
}

/// Every kind of block: BigGAN's and DDPM's, attention, FIR pyramids, refinement; with dropout.
#[test]
fn recomputation_changes_no_bit_and_takes_less_memory() {
    let Some(gpu) = super::gpu() else { return };
    let unet =
        [("model.ch_mult", "[1, 2]"), ("model.attn_resolutions", "[8]"), ("model.num_res_blocks", "2")];
    for (name, keys) in [
        ("ve/cifar10_ncsnpp_continuous", unet.as_slice()),
        ("vp/cifar10_ddpmpp_continuous", &unet),
        ("vp/ddpm/cifar10", &unet),
        ("ve/ncsnv2/cifar10", &[]),
    ] {
        let mut config = presets::get(name).unwrap();
        for &(key, value) in
            [("data.image_size", "16"), ("model.nf", "32"), ("model.dropout", "0.2")].iter().chain(keys)
        {
            config.set(key, value).unwrap();
        }
        config.validate().unwrap();
        let ((kept, most), (again, less)) = (step(&gpu, &config, false), step(&gpu, &config, true));
        assert_eq!(kept.len(), again.len());
        let differ = kept.iter().zip(&again).filter(|(a, b)| a != b).count();
        assert!(differ == 0, "{name}: {differ} of {} gradients differ", kept.len());
        assert!(kept.iter().filter(|&&bits| bits << 1 != 0).count() > kept.len() / 2, "{name}: mostly zeros");
        println!("{name}: {most} bytes kept, {less} recomputed");
        assert!((less as f64) < 0.8 * most as f64, "{name}: {less} bytes against {most}");
    }
}
