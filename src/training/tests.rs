//! Whole runs with a network of two convolutions.

use std::sync::Arc;

use super::*;
use crate::checkpoint::{Checkpoint, load};
use crate::data::{Dataset, Preprocess};
use crate::error::Error;
use crate::gpu::{Gpu, Options};
use crate::graph::{Graph, Value};
use crate::models::{Config, Network};
use crate::nn::{Init, Manifest, Trace};
use crate::ops::conv2d::{Conv2d, Epilogue, conv2d};

const HIDDEN: usize = 8;

/// Two convolutions with dropout between them, and a parameter that nothing reads.
#[derive(Debug)]
struct Small(Manifest);

impl Small {
    fn new() -> Self {
        let mut manifest = Manifest::default();
        let mut root = manifest.root();
        root.declare_fixed("unused", &[3], Init::Constant(2.0));
        for (name, out, inner) in [("first", HIDDEN, 1), ("last", 1, HIDDEN)] {
            let mut layer = root.at(name);
            let init = Init::variance_scaling(1.0, 9 * inner, 9 * out);
            layer.declare("weight", &[out, inner, 3, 3], init);
            layer.declare("bias", &[out], Init::Constant(0.0));
        }
        Self(manifest)
    }
}

impl Network for Small {
    fn manifest(&self) -> &Manifest {
        &self.0
    }

    fn forward(&self, trace: &mut Trace<'_>, x: Value, _: Value) -> crate::Result<Value> {
        let layer = |g: &mut Graph, x, name: &str, out, inner| {
            let weight = g.parameter("weights", &format!("{name}.weight"), [out, inner, 3, 3])?;
            let bias = g.parameter("weights", &format!("{name}.bias"), [out])?;
            conv2d(g, x, None, weight, Conv2d::same(3), Epilogue::bias(bias))
        };
        let h = layer(trace.graph, x, "first", HIDDEN, 1)?;
        let h = trace.dropout(h, 0.1)?;
        layer(trace.graph, h, "last", 1, HIDDEN)
    }
}

fn gpu() -> Gpu {
    Gpu::open(&Options::default()).unwrap()
}

/// 64 pictures of 8x8 pixels: a bright square on a slope.
fn pictures() -> Arc<Dataset> {
    let mut pixels = Vec::new();
    for i in 0..64u32 {
        let (x0, y0) = (i % 6, i / 8 % 6);
        for p in 0..64u32 {
            let (x, y) = (p % 8, p / 8);
            let inside = (x0..x0 + 3).contains(&x) && (y0..y0 + 3).contains(&y);
            pixels.push(if inside { 240 } else { (10 * x + 5 * y) as u8 });
        }
    }
    Arc::new(Dataset::from_pixels(pixels, Preprocess::new(8, 1).unwrap(), &[], &[]).unwrap())
}

fn config(steps: u64) -> Config {
    let mut config = Config::default();
    for (key, value) in [
        ("data.image_size", "8"),
        ("data.num_channels", "1"),
        ("data.centered", "true"),
        ("training.sde", "vpsde"),
        ("training.reduce_mean", "true"),
        ("training.batch_size", "16"),
        ("training.log_freq", "10"),
        ("training.snapshot_freq_for_preemption", "7"),
        ("optim.lr", "0.01"),
        ("optim.warmup", "5"),
    ] {
        config.set(key, value).unwrap();
    }
    config.training.n_iters = steps;
    config
}

fn options() -> TrainerOptions {
    TrainerOptions { samples: None, ..TrainerOptions::default() }
}

fn trainer(
    gpu: &Gpu,
    config: Config,
    folder: &std::path::Path,
    options: TrainerOptions,
) -> crate::Result<Trainer> {
    Trainer::with_network(gpu, config, Box::new(Small::new()), pictures(), folder, options)
}

fn contents(c: &Checkpoint) -> Vec<(String, Vec<u32>)> {
    let sets = [("w", &c.weights), ("e", &c.ema_weights), ("m", &c.adam_m), ("v", &c.adam_v)];
    let mut all = Vec::new();
    for (set, tensors) in sets {
        for (name, tensor) in tensors.iter() {
            let bits = tensor.to_f32().unwrap().iter().map(|v| v.to_bits()).collect();
            all.push((format!("{set}.{name}"), bits));
        }
    }
    all
}

#[test]
fn steps_equal_steps_a_restart_and_steps_bit_for_bit() {
    let gpu = gpu();
    let [whole, parts] = [0, 1].map(|_| tempfile::tempdir().unwrap());
    trainer(&gpu, config(20), whole.path(), options()).unwrap().run(&mut |_: Event<'_>| true).unwrap();
    let mut first = trainer(&gpu, config(20), parts.path(), options()).unwrap();
    let stopped = first.run(&mut |e: Event<'_>| !matches!(e, Event::Step { step: 9 })).unwrap();
    assert_eq!(stopped, Outcome { step: 9, complete: false });
    assert!(matches!(trainer(&gpu, config(20), parts.path(), options()), Err(Error::Locked { .. })));
    drop(first);
    let mut second = trainer(&gpu, config(20), parts.path(), options()).unwrap();
    assert_eq!(second.done(), 9);
    assert!(second.run(&mut |_: Event<'_>| true).unwrap().complete);
    let [whole, parts] = [&whole, &parts].map(|f| load(f.path()).unwrap().unwrap().checkpoint);
    assert_eq!((whole.step, whole.data, whole.ema), (20, parts.data, parts.ema));
    assert_eq!(contents(&whole), contents(&parts));
    assert!(contents(&whole).iter().any(|(name, bits)| name == "w.first.weight" && bits[0] != 0));
    assert_eq!(whole.weights.get("unused").unwrap().to_f32().unwrap(), [2.0; 3]);
}

/// Grids between two lines of the log once made the mean that of fewer steps than were summed.
#[test]
fn a_line_of_the_log_is_the_mean_of_its_steps_whatever_came_between() {
    let gpu = gpu();
    let losses = |log_freq: u64, samples: Option<SampleOptions>| {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(20);
        (config.training.log_freq, config.training.snapshot_freq_for_preemption) = (log_freq, 1000);
        let options = TrainerOptions { samples, ..TrainerOptions::default() };
        let mut losses = Vec::new();
        let mut hear = |event: Event<'_>| {
            if let Event::Logged(figures) = event {
                losses.push((figures.step, figures.loss));
            }
            true
        };
        trainer(&gpu, config, folder.path(), options).unwrap().run(&mut hear).unwrap();
        losses
    };
    let each = losses(1, None);
    assert_eq!(each.len(), 20);
    let some = losses(10, Some(SampleOptions { images: 1, steps: Some(2), every: Some(3) }));
    let mut before = 0;
    for (step, loss) in some {
        let steps = &each[before as usize..step as usize];
        let mean = steps.iter().map(|(_, loss)| loss).sum::<f64>() / steps.len() as f64;
        assert!((loss - mean).abs() < 1e-5 * mean, "step {step}: {loss}, the mean is {mean}");
        before = step;
    }
    assert_eq!(before, 20);
}

#[test]
fn the_loss_falls_by_half_and_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let mut losses = Vec::new();
    let mut trainer = trainer(&gpu(), config(200), folder.path(), options()).unwrap();
    let memory = trainer.draft().memory().total();
    let mut hear = |event: Event<'_>| {
        if let Event::Logged(figures) = event {
            losses.push(figures.loss);
            assert!(figures.memory == memory && figures.images_per_second > 0.0 && figures.skipped == 0);
        }
        true
    };
    trainer.run(&mut hear).unwrap();
    assert!(losses.len() >= 20 && losses[losses.len() - 1] < 0.5 * losses[0], "{losses:?}");
    let text = std::fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
    assert_eq!(text.lines().count(), losses.len());
}

#[test]
fn micro_batches_make_the_same_step() {
    let gpu = gpu();
    let run = |micro_batch| {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(8);
        config.training.log_freq = 8;
        let mut logged = None;
        let options = TrainerOptions { micro_batch, ..options() };
        let mut hear = |event: Event<'_>| {
            if let Event::Logged(figures) = event {
                logged = Some((figures.loss, figures.grad_norm));
            }
            true
        };
        trainer(&gpu, config, folder.path(), options).unwrap().run(&mut hear).unwrap();
        let checkpoint = load(folder.path()).unwrap().unwrap().checkpoint;
        (logged.unwrap(), checkpoint.weights.get("first.weight").unwrap().to_f32().unwrap())
    };
    let (whole, weights) = run(None);
    // 5 does not divide 16: the last part is padded.
    for n in [8, 5, 1] {
        let (parts, other) = run(Some(n));
        assert!(
            (whole.0 / parts.0 - 1.0).abs() < 1e-4 && (whole.1 / parts.1 - 1.0).abs() < 1e-3,
            "{n}: {parts:?} {whole:?}"
        );
        for (a, b) in weights.iter().zip(&other) {
            assert!((a - b).abs() < 1e-4, "{n}: {a} {b}");
        }
    }
    assert!(matches!(
        StepDraft::new(&gpu, &Small::new(), &settings([17, 8, 8, 1])),
        Err(Error::Invalid { .. })
    ));
}

fn settings(shape: [usize; 4]) -> StepSettings {
    let config = config(1);
    StepSettings {
        shape,
        batch: 16,
        reduction: Reduction::of(&config),
        adam: adam_of(&config),
        seed: 1,
        recorded_noise: false,
        recompute: false,
        choice: crate::graph::Choice::Written,
    }
}

#[test]
fn a_run_that_breaks_stops_and_names_the_tensor_and_the_step() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(40);
    config.training.snapshot_freq_for_preemption = 1000;
    let mut trainer = trainer(&gpu(), config.clone(), folder.path(), options()).unwrap();
    let mut wrong = |event: Event<'_>| !matches!(event, Event::Step { step: 13 });
    trainer.run(&mut wrong).unwrap();
    let weight = vec![f32::MAX; HIDDEN * 9];
    trainer.step().state().weights.write("last.weight", &weight).unwrap();
    let error = trainer.run(&mut |_: Event<'_>| true).unwrap_err();
    let Error::NonFinite { tensor, step } = &error else { panic!("{error}") };
    assert!(tensor.contains("the gradient of ") && *step == 14, "{error}");
    let loaded = load(folder.path()).unwrap().unwrap().checkpoint;
    assert_eq!((loaded.step, loaded.extra["skipped"].as_str()), (20, "7"));
}

#[test]
fn another_model_is_refused() {
    let gpu = gpu();
    let folder = tempfile::tempdir().unwrap();
    trainer(&gpu, config(1), folder.path(), options()).unwrap().run(&mut |_: Event<'_>| true).unwrap();
    let mut other = config(2);
    other.model.nf = 64;
    let error = trainer(&gpu, other, folder.path(), options()).unwrap_err().to_string();
    assert!(error.contains("model.nf = 64"), "{error}");
    let fresh = TrainerOptions { resume: false, ..options() };
    assert!(trainer(&gpu, config(2), folder.path(), fresh).is_err());
    let mut wrong = config(2);
    wrong.data.image_size = 16;
    assert!(trainer(&gpu, wrong, folder.path(), options()).is_err());
}
