//! Every architecture of the paper goes on exactly: 6 steps, and 3 steps and 3 more in another process, leave the same bits.

use std::collections::BTreeMap;
use std::path::Path;

use crate::{command, finish};

/// Shrinks a preset to seconds.
const SMALL: &[&str] = &[
    "data.image_size=16",
    "data.random_flip=true",
    "model.nf=16",
    "training.n_iters=1000",
    "training.snapshot_freq=1000",
    "training.log_freq=1",
    "optim.warmup=4",
];

/// The pictures of the repository, in folders of two classes.
fn classes(at: &Path) {
    let from = concat!(env!("CARGO_MANIFEST_DIR"), "/kernels-tests/fixtures/emoji");
    let mut names: Vec<_> = std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for (i, path) in names.iter().enumerate() {
        let folder = at.join("pictures").join(["even", "odd"][i % 2]);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(path, folder.join(path.file_name().unwrap())).unwrap();
    }
}

/// Trains a preset in the folder `out` up to `steps`, with kernels as `kernels` asks.
fn train(at: &Path, preset: &[&str], out: &str, steps: &str, kernels: &str, flags: &[&str]) {
    let mut arguments = vec!["train", "--config", preset[0], "--data", "pictures", "--out", out];
    arguments.extend(["--steps", steps, "--batch", "2", "--samples-every", "0", "--quiet"]);
    for set in SMALL.iter().chain(&preset[1..]) {
        arguments.extend(["--set", set]);
    }
    arguments.extend(flags);
    let mut command = command(at, &arguments);
    command.env("LANGEVIN_CACHE", at.join("cache")).env("LANGEVIN_KERNELS", kernels);
    let ran = finish(command.output().unwrap());
    assert!(ran.code == 0, "{preset:?} {flags:?}: {}", ran.stderr);
}

/// The bytes of every tensor of a run's checkpoint.
fn tensors(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = std::fs::read(run.join("checkpoint.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    file.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect()
}

/// 6 steps at once against 3 and 3; the run begins with `kernels`, and goes on with the written order, as one does that was tuned and
/// then goes on where no tuner is.
fn goes_on_exactly(preset: &[&str], kernels: &str, flags: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    classes(at);
    train(at, preset, "whole", "6", kernels, flags);
    train(at, preset, "parts", "3", kernels, flags);
    train(at, preset, "parts", "6", "written", flags);
    let (whole, parts) = (tensors(&at.join("whole")), tensors(&at.join("parts")));
    assert!(whole.len() > 20 && whole.keys().eq(parts.keys()));
    let other = whole.iter().filter(|(name, bytes)| parts[*name] != **bytes).count();
    assert_eq!(other, 0, "{preset:?} {flags:?}: {other} of {} tensors differ after a restart", whole.len());
}

/// Without and with recomputation, by the written order; and begun with other kernels, as a tuner might choose them.
fn in_every_way(preset: &[&str]) {
    goes_on_exactly(preset, "written", &[]);
    goes_on_exactly(preset, "plain", &["--recompute"]);
}

#[test]
fn ncsn() {
    in_every_way(&["ve/ncsn/cifar10"]);
}

#[test]
fn ncsnv2() {
    in_every_way(&["ve/ncsnv2/cifar10"]);
}

#[test]
fn ddpm() {
    in_every_way(&["vp/ddpm/cifar10", "model.nf=32", "model.ch_mult=[1, 2]", "model.num_res_blocks=1"]);
}

#[test]
fn ddpmpp() {
    in_every_way(&["vp/cifar10_ddpmpp_continuous", "model.ch_mult=[1, 2]", "model.num_res_blocks=1"]);
}

#[test]
fn ncsnpp_with_each_pyramid() {
    let small = ["model.ch_mult=[1, 2]", "model.num_res_blocks=1"];
    for progressive in [
        ["model.progressive=none", "model.progressive_input=none"],
        ["model.progressive=output_skip", "model.progressive_input=input_skip"],
        ["model.progressive=residual", "model.progressive_input=residual"],
    ] {
        let preset = [&["ve/cifar10_ncsnpp_continuous"], &small[..], &progressive[..]].concat();
        goes_on_exactly(&preset, "direct", &[]);
        goes_on_exactly(&preset, "written", &["--recompute"]);
    }
}

#[test]
fn classifier() {
    in_every_way(&[
        "ve/cifar10_ncsnpp_continuous",
        "model.name=wideresnet_noise_conditional",
        "model.blocks_per_group=1",
        "model.channel_multiplier=1",
        "model.num_outputs=2",
        "data.centered=true",
    ]);
}
