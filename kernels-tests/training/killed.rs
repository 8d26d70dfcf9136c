//! Runs that are killed, by the signal that cannot be caught, at any moment behind a checkpoint. Each step is saved and kept.
//!
//! The killed run is this program itself, called again with the work folder in a variable.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use langevin::checkpoint::{Checkpoint, load};
use langevin::data::{Dataset, Preprocess};
use langevin::gpu::Gpu;
use langevin::graph::Value;
use langevin::models::{Config, Network};
use langevin::nn::{Init, Manifest, Trace};
use langevin::ops::conv2d::{Conv2d, Epilogue, conv2d};
use langevin::random::Stream;
use langevin::training::{Event, Trainer, TrainerOptions};

const NAME: &str = "killed::a_killed_run_lost_nothing_that_it_reported_as_saved";
/// Holds the work folder of the run to be killed.
const RUN: &str = "LANGEVIN_TEST_RUN";
/// Holds the number of rounds.
const ROUNDS: &str = "LANGEVIN_KILL_ROUNDS";
/// Runs at once, each in a folder of its own: most of a round is waiting.
const AT_ONCE: usize = 6;
/// Longest wait between the first checkpoint that a run reports and the kill.
const LONGEST: f64 = 2.0;

/// One convolution.
#[derive(Debug)]
pub(super) struct Tiny(Manifest);

impl Tiny {
    pub(super) fn new() -> Self {
        let mut manifest = Manifest::default();
        let mut root = manifest.root();
        root.declare("weight", &[1, 1, 3, 3], Init::variance_scaling(1.0, 9, 9));
        root.declare("bias", &[1], Init::Constant(0.0));
        Self(manifest)
    }
}

impl Network for Tiny {
    fn manifest(&self) -> &Manifest {
        &self.0
    }

    fn forward(&self, trace: &mut Trace<'_>, x: Value, _: Value) -> langevin::Result<Value> {
        let g = &mut *trace.graph;
        let weight = g.parameter("weights", "weight", [1, 1, 3, 3])?;
        let bias = g.parameter("weights", "bias", [1])?;
        conv2d(g, x, None, weight, Conv2d::same(3), Epilogue::bias(bias))
    }
}

/// Trains until killed, saves at every step and says so.
fn run_until_killed(folder: &Path) -> langevin::Result<()> {
    let mut config = Config::default();
    for (key, value) in [
        ("data.image_size", "8"),
        ("data.num_channels", "1"),
        ("training.sde", "vpsde"),
        ("training.batch_size", "4"),
        ("training.snapshot_freq", "1"),
        ("training.n_iters", "100000000"),
    ] {
        config.set(key, value)?;
    }
    let pixels = (0..8 * 64).map(|i| (i * 7 % 251) as u8).collect();
    let data = Dataset::from_pixels(pixels, Preprocess::new(8, 1)?, &[], &[])?;
    let gpu = Gpu::open(&crate::options())?;
    let options = TrainerOptions { samples: None, ..TrainerOptions::default() };
    let mut trainer =
        Trainer::with_network(&gpu, config, Box::new(Tiny::new()), Arc::new(data), folder, options)?;
    let mut tell = |event: Event<'_>| {
        if let Event::Saved { step } = event {
            let mut out = std::io::stdout();
            return writeln!(out, "saved {step}").and_then(|()| out.flush()).is_ok();
        }
        true
    };
    trainer.run(&mut tell).map(|_| ())
}

/// Starts the run, kills it `wait` after the first checkpoint that it reports; gives the last one that it reported.
fn killed(folder: &Path, wait: Duration) -> u64 {
    let mut run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(RUN, folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(run.stdout.take().unwrap()).lines();
    let (first, begun) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut last = 0;
        for line in lines.map_while(Result::ok) {
            if let Some(step) = line.strip_prefix("saved ").and_then(|s| s.parse().ok()) {
                last = step;
                // Whoever waited for the first has what it needs.
                let _ = first.send(());
            }
        }
        last
    });
    let saves = begun.recv_timeout(Duration::from_secs(120));
    std::thread::sleep(wait);
    run.kill().unwrap();
    run.wait().unwrap();
    let last = reader.join().unwrap();
    assert!(saves.is_ok(), "the run reported no checkpoint within two minutes");
    last
}

#[test]
fn a_killed_run_lost_nothing_that_it_reported_as_saved() {
    if let Some(folder) = std::env::var_os(RUN) {
        return run_until_killed(Path::new(&folder)).unwrap();
    }
    if super::gpu().is_none() {
        return;
    }
    let rounds: usize = std::env::var(ROUNDS).map_or(100, |rounds| rounds.parse().unwrap());
    let (started, saves) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let several_rounds = |worker| {
        let folder = tempfile::tempdir().unwrap();
        let mut stream = Stream::new(5, 0, worker);
        let (mut before, mut checked) = (0, 0);
        while started.fetch_add(1, Ordering::Relaxed) < rounds {
            let wait = LONGEST * stream.uniform();
            let reported = killed(folder.path(), Duration::from_secs_f64(wait));
            let loaded = load(folder.path()).unwrap().expect("a checkpoint was reported");
            let step = loaded.checkpoint.step;
            // Every step was to be kept, and is: also one that was saved by the run before and not kept any more.
            for kept in checked + 1..=reported {
                let path = folder.path().join(format!("step-{kept:08}.safetensors"));
                let opened = Checkpoint::open(&path).and_then(|c| c.verify().map(|()| c.step));
                assert_eq!(opened.unwrap(), kept);
                fs::remove_file(path).unwrap();
            }
            checked = reported;
            assert!(step >= reported, "step {reported} was reported as saved, step {step} is loaded");
            // It went on from where the last one stood.
            assert!(reported > before, "a run of {before} steps reported {reported}");
            saves.fetch_add((reported - before) as usize, Ordering::Relaxed);
            before = step;
        }
    };
    std::thread::scope(|scope| {
        for worker in 0..AT_ONCE as u32 {
            scope.spawn(move || several_rounds(worker));
        }
    });
    println!("{rounds} runs killed, {} checkpoints reported", saves.into_inner());
}
