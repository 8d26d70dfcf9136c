//! Commands that run a model: results against each other. The models are small ones of the golden data.

use std::path::{Path, PathBuf};

use langevin::checkpoint::{Tensor, Tensors, safetensors};
use langevin::models::config::ModelName;
use langevin::models::{self, Config};
use langevin::output::{ImageBytes, Provenance, write_png};

use crate::{Ran, run_in};

/// A file of the golden data that the repository keeps.
pub fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-tests/goldens").join(name)
}

/// A folder with pictures and the configuration of the sub-VP model, whose images are 8 x 8.
pub struct Place {
    folder: tempfile::TempDir,
    /// The path of the model.
    pub model: String,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let case = std::fs::read_to_string(kept("checkpoints/ddpmpp_subvp.json")).unwrap();
        let case: serde_json::Value = serde_json::from_str(&case).unwrap();
        std::fs::write(folder.path().join("config.json"), case["config"].to_string()).unwrap();
        for (name, shift) in [("a.png", 0), ("b.png", 90)] {
            picture(&folder.path().join(name), [8, 8], shift);
        }
        let model = kept("checkpoints/ddpmpp_subvp.pth").to_str().unwrap().to_owned();
        Self { folder, model }
    }

    /// The folder.
    pub fn at(&self) -> &Path {
        self.folder.path()
    }

    /// `gen COMMAND --model … --config …` and more.
    pub fn run(&self, command: &str, more: &[&str]) -> Ran {
        let arguments = [&[command, "--model", &self.model, "--config", "config.json"], more].concat();
        run_in(self.at(), &arguments)
    }

    /// The shape and values of the one tensor `name` of a file here.
    pub fn tensor(&self, file: &str, name: &str) -> (Vec<usize>, Vec<f32>) {
        let file = safetensors::open(self.at().join(file)).unwrap();
        let tensor = file.tensors.get(name).unwrap();
        (tensor.shape().to_vec(), tensor.to_f32().unwrap())
    }
}

/// Writes a picture without meaning.
pub fn picture(path: &Path, [h, w]: [usize; 2], shift: usize) {
    let pixels = (0..h * w * 3).map(|i| ((i * 37 / 3 + 11 * (i % 3) + shift) % 256) as u8).collect();
    write_png(path, &ImageBytes::new([1, h, w, 3], pixels).unwrap(), &Provenance::new()).unwrap();
}

/// The largest difference.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_converted_model_draws_the_same_images() {
    let place = Place::new();
    let told = run_in(
        place.at(),
        &["convert", &place.model, "--config", "config.json", "--out", "m.safetensors", "--json"],
    )
    .json();
    assert_eq!((&told["ema"], &told["step"]), (&true.into(), &123456.into()));
    let half = ["convert", &place.model, "--config", "config.json", "--f16", "--out", "half.safetensors"];
    assert!(run_in(place.at(), &half).ok().contains("parameters, averaged"));
    // Converting again needs no configuration, and changes nothing.
    run_in(place.at(), &["convert", "half.safetensors", "--f16", "--out", "again.safetensors"]).ok();
    let draw = ["--seeds", "3-4", "--steps", "4", "--out", "x.safetensors"];
    let drawn = |model: &str| {
        run_in(place.at(), &[&["sample", "--model", model][..], &draw[..]].concat()).ok();
        place.tensor("x.safetensors", "x").1
    };
    place.run("sample", &draw).ok();
    let (shape, original) = place.tensor("x.safetensors", "x");
    assert_eq!(shape, [2, 3, 8, 8]);
    assert_eq!(drawn("m.safetensors"), original);
    let halves = drawn("half.safetensors");
    assert_eq!(drawn("again.safetensors"), halves);
    let size = original.iter().fold(0.0, |m: f32, v| m.max(v.abs()));
    let difference = apart(&halves, &original);
    assert!(difference > 0.0 && difference < 0.05 * size, "{difference} of {size}");
    let raw = ["--raw", "--seeds", "3-4", "--steps", "4", "--out", "raw.safetensors"];
    place.run("sample", &raw).ok();
    assert_ne!(place.tensor("raw.safetensors", "x").1, original);
    let inspected = run_in(place.at(), &["inspect", "half.safetensors", "--json"]).json();
    assert_eq!(inspected["config"]["training"]["sde"], "subvpsde");
    let kinds: Vec<_> = inspected["tensors"].as_array().unwrap().iter().map(|t| &t["dtype"]).collect();
    assert!(kinds.contains(&&"F16".into()) && kinds.contains(&&"F32".into()));
}

#[test]
fn a_dry_run_tells_the_memory_and_writes_nothing() {
    let place = Place::new();
    let draw = |more: &[&str]| {
        place.run("sample", &[&["--seeds", "0-3", "--out", "folder", "--json"], more].concat())
    };
    let planned = draw(&["--steps", "3", "--dry-run"]).json();
    assert!(!place.at().join("folder").exists());
    let done = draw(&["--steps", "3"]).json();
    assert_eq!((&planned["memory"]["total"], &planned["nfe"]), (&done["memory"], &done["nfe"]));
    assert!(planned["flops"].as_f64().unwrap() > 1e6);
    let ode = draw(&["--sampler", "ode", "--dry-run"]).json();
    assert!(ode["nfe"].is_null() && ode["memory"]["total"].as_u64().unwrap() > 1 << 16);
    assert!(place.run("sample", &["--dry-run"]).ok().contains("GFLOP"));
}

#[test]
fn samples_take_every_form() {
    let place = Place::new();
    let few = ["--seeds", "5-8", "--steps", "3"];
    let told = place
        .run("sample", &[&few[..], &["--trajectory", "t.png", "--out", "g.png", "--json"]].concat())
        .json();
    assert_eq!((&told["images"], &told["nfe"], &told["seeds"]), (&4.into(), &3.into(), &"5-8".into()));
    let read = |name: &str| std::fs::read(place.at().join(name)).unwrap();
    assert!(read("t.png").windows(4).any(|w| w == b"acTL"));
    let about = run_in(place.at(), &["inspect", "g.png", "--json"]).json();
    assert_eq!(about["provenance"]["seeds"], "5-8");
    place.run("sample", &[&few[..], &["--out", "folder"]].concat()).ok();
    assert!(["000005.png", "000008.png"].iter().all(|name| place.at().join("folder").join(name).is_file()));
    place.run("sample", &[&few[..], &["--out", "x.npz"]].concat()).ok();
    assert!(read("x.npz").starts_with(b"PK"));
    for sampler in ["ode", "heun", "ddim"] {
        let steps: &[&str] =
            if sampler == "ode" { &["--rtol", "1e-2", "--atol", "1e-2"] } else { &["--steps", "5"] };
        let draw = ["--sampler", sampler, "--seeds", "1", "--out", "s.png", "--json"];
        let told = place.run("sample", &[&draw[..], steps].concat()).json();
        assert!(told["nfe"].as_u64().unwrap() >= 5 && told["sampler"].as_str().unwrap().starts_with(sampler));
    }
}

#[test]
fn an_image_comes_back_from_its_latent() {
    let place = Place::new();
    // The field of a network that was never trained is rough, and a long way magnifies what the tolerance leaves.
    let exact = ["--rtol", "1e-5", "--atol", "1e-5", "--t-eps", "0.97"];
    let encode = [&["--images", "a.png", "--out", "z.safetensors", "--json"][..], &exact[..]].concat();
    let told = place.run("encode", &encode).json();
    assert_eq!(told["shape"], serde_json::json!([1, 3, 8, 8]));
    let decode = [&["--latent", "z.safetensors", "--out", "x.safetensors"][..], &exact[..]].concat();
    place.run("decode", &decode).ok();
    let picture = image_values(&place.at().join("a.png"));
    let (_, x) = place.tensor("x.safetensors", "x");
    assert!(apart(&x, &picture) < 2e-3, "{}", apart(&x, &picture));
    // The same image as numbers has the same latent.
    let (_, z) = place.tensor("z.safetensors", "z");
    place
        .run(
            "decode",
            &[
                "--latent",
                "z.safetensors",
                "--temperature",
                "0.5",
                "--rtol",
                "0.1",
                "--atol",
                "0.1",
                "--out",
                "x.png",
            ],
        )
        .ok();
    write_x(&place.at().join("same.safetensors"), &picture);
    let again = [&["--images", "same.safetensors", "--out", "again.safetensors"][..], &exact[..]].concat();
    place.run("encode", &again).ok();
    assert_eq!(place.tensor("again.safetensors", "z").1, z);
}

/// A picture as numbers in [0, 1], `c h w`.
fn image_values(path: &Path) -> Vec<f32> {
    let picture = image::open(path).unwrap().to_rgb8();
    (0..3).flat_map(|c| picture.pixels().map(move |p| f32::from(p[c]) / 255.0).collect::<Vec<_>>()).collect()
}

fn write_x(path: &Path, values: &[f32]) {
    let n = values.len() / 192;
    langevin::output::write_safetensors(path, &[("x", &[n, 3, 8, 8], values)], &[]).unwrap();
}

#[test]
fn interpolation_begins_and_ends_at_the_two() {
    let place = Place::new();
    let loose = ["--rtol", "1e-2", "--atol", "1e-2"];
    let frames = [&["--frames", "3", "--batch", "1", "--denoise"][..], &loose[..]].concat();
    let seeds =
        [&["--seeds", "4", "9", "--out", "x.safetensors", "--animation", "a.png"][..], &frames[..]].concat();
    let told = place.run("interpolate", &[&seeds[..], &["--json"]].concat()).json();
    assert_eq!(told["frames"], 3);
    let (_, between) = place.tensor("x.safetensors", "x");
    let ode = |seed: &str| {
        let draw = ["--sampler", "ode", "--seeds", seed, "--out", "e.safetensors"];
        place.run("sample", &[&draw[..], &loose[..]].concat()).ok();
        place.tensor("e.safetensors", "x").1
    };
    assert_eq!(between[..192], ode("4"));
    assert_eq!(between[384..], ode("9"));
    let images = ["--images", "a.png", "b.png", "--frames", "2", "--t-eps", "0.3", "--out", "y.png"];
    place.run("interpolate", &[&images[..], &loose[..]].concat()).ok();

    place.run("interpolate", &["--out", "y.png"]).fails(2, &["--images A B", "--seeds A B"]);
}

#[test]
fn likelihoods_add_up() {
    let place = Place::new();
    let loose = ["--rtol", "0.1", "--atol", "0.1", "--data", "."];
    let measure = |more: &[&str]| place.run("likelihood", &[&loose[..], &["--json"], more].concat()).json();
    let once = measure(&["--seed", "1"]);
    let bits: Vec<f64> =
        once["bits_per_dim"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert_eq!((bits.len(), &once["dequantized"]), (2, &true.into()));
    let mean = (bits[0] + bits[1]) / 2.0;
    assert!((once["mean"].as_f64().unwrap() - mean).abs() < 1e-12);
    // The standard error of two is half their distance.
    assert!((once["standard_error"].as_f64().unwrap() - (bits[0] - bits[1]).abs() / 2.0).abs() < 1e-9);
    assert_eq!(measure(&["--seed", "1"])["bits_per_dim"], once["bits_per_dim"]);
    assert_ne!(measure(&["--seed", "2"])["bits_per_dim"], once["bits_per_dim"]);
    let more = measure(&["--n", "1", "--repeats", "3", "--hutchinson", "gaussian"]);
    let each = &more["each"][0];
    let all: Vec<f64> = each["repeats"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert_eq!((all.len(), &each["name"]), (3, &"a.png".into()));
    assert!((all.iter().sum::<f64>() / 3.0 - more["mean"].as_f64().unwrap()).abs() < 1e-9);
    assert!(more["standard_error"].is_null() && more["nfe"].as_u64().unwrap() > 6);
    assert!(place.run("likelihood", &loose).ok().contains("bits per dimension"));
    // A clean picture's probability differs from that of its noisy levels; the tool says which it measures.
    write_x(&place.at().join("floats.safetensors"), &vec![0.3; 192]);
    let floats = place.run("likelihood", &["--rtol", "0.1", "--atol", "0.1", "--data", "floats.safetensors"]);
    assert!(floats.stderr.contains("taken as they are"), "{}", floats.stderr);
}

#[test]
fn the_likelihood_of_a_split_is_that_of_its_own_images() {
    let place = Place::new();
    for (name, shift) in
        [("train/a/0", 0), ("train/b/0", 40), ("test/a/1", 80), ("test/b/1", 120), ("test/b/2", 160)]
    {
        let path = place.at().join(format!("set/{name}.png"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        picture(&path, [8, 8], shift);
    }
    let measure = |more: &[&str]| {
        let common = ["likelihood", "--model", &place.model, "--config", "config.json", "--rtol", "0.1"];
        let more = [&common[..], &["--atol", "0.1", "--data", "set", "--json"], more].concat();
        let mut command = crate::command(place.at(), &more);
        crate::finish(command.env("LANGEVIN_CACHE", place.at().join("cache")).output().unwrap())
    };
    let names = |told: &serde_json::Value| -> Vec<String> {
        told["each"].as_array().unwrap().iter().map(|e| e["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&measure(&["--split", "test"]).json()), ["test/a/#2", "test/b/#3", "test/b/#4"]);
    let (some, again) =
        (measure(&["--split", "test", "--n", "2"]).json(), measure(&["--split", "test", "--n", "2"]).json());
    assert_eq!((some["images"].as_u64(), &some["bits_per_dim"]), (Some(2), &again["bits_per_dim"]));
    assert_eq!(names(&measure(&["--split", "train"]).json()).len(), 2);
    assert_eq!(names(&measure(&["--split", "all"]).json()).len(), 5);
    measure(&["--split", "tests"]).fails(2, &["--split", "possible values: train, test, all"]);
    let all = ["--data", "a.png", "--split", "test"];
    place.run("likelihood", &all).fails(2, &["split = test", "train/ and test/"]);
}

/// What sub-VP allows in a handful of steps.
const FEW: [&str; 4] = ["--predictor", "euler_maruyama", "--corrector", "none"];

#[test]
fn inpainting_keeps_what_is_known() {
    let place = Place::new();
    let draw = |more: &[&str]| {
        let common = ["--images", "a.png", "--steps", "6", "--seeds", "0-1", "--out", "x.safetensors"];
        place.run("inpaint", &[&common[..], &FEW[..], more].concat()).ok();
        place.tensor("x.safetensors", "x").1
    };
    let known = image_values(&place.at().join("a.png"));
    let filled = draw(&["--mask", "left"]);
    for (i, value) in filled.iter().enumerate() {
        // x_mean at t = 1e-3 is the image times α, which is within 1e-3 of 1.
        let is_known = i % 8 >= 4;
        assert!(!is_known || (value - known[i % 192]).abs() < 2e-3, "{i}: {value}");
    }
    assert!(apart(&filled[..192], &filled[192..]) > 0.01, "two seeds gave one image");
    let reference = draw(&["--mask", "left", "--x-mean", "reference"]);
    assert_ne!(filled, reference);
    // A mask in a file: white is known.
    let pixels = (0..64).map(|i| if i % 8 >= 4 { 255 } else { 0 }).collect();
    let mask = ImageBytes::new([1, 8, 8, 1], pixels).unwrap();
    write_png(&place.at().join("mask.png"), &mask, &Provenance::new()).unwrap();
    assert_eq!(draw(&["--mask", "mask.png"]), filled);
    assert_eq!(draw(&["--mask", "left", "--batch", "1"]), filled);
    let told = place
        .run(
            "inpaint",
            &["--images", "b.png", "--mask", "centre", "--steps", "25", "--out", "g.png", "--json"],
        )
        .json();
    assert_eq!((&told["images"], &told["nfe"]), (&1.into(), &50.into()));
    // What is known may be black; that is no failure of the sampler.
    let black = ImageBytes::new([1, 8, 8, 3], vec![0; 192]).unwrap();
    write_png(&place.at().join("black.png"), &black, &Provenance::new()).unwrap();
    let draw = [&["--images", "black.png", "--mask", "left", "--steps", "6", "--out", "g.png"][..], &FEW[..]];
    let ran = place.run("inpaint", &draw.concat());
    assert!(ran.code == 0 && !ran.stderr.contains("one colour"), "{}", ran.stderr);
}

#[test]
fn an_image_of_one_colour_is_told_even_to_those_who_want_quiet() {
    let place = Place::new();
    // Predictions clamped to nothing are one grey.
    let grey = ["--seeds", "0", "--steps", "2", "--clip", "1e-12", "--quiet", "--out", "x.png"];
    let ran = place.run("sample", &grey);
    assert!(ran.stderr.contains("1 of 1 images: one colour all over"), "{}", ran.stderr);
    ran.ok();
}

#[test]
fn colorizing_keeps_the_grey_value() {
    let place = Place::new();
    let colour = ["--images", "a.png", "--steps", "6", "--out", "x.safetensors"];
    place.run("colorize", &[&colour[..], &FEW[..]].concat()).ok();
    let (_, x) = place.tensor("x.safetensors", "x");
    let known = image_values(&place.at().join("a.png"));
    let grey = |x: &[f32], i: usize| (x[i] + x[i + 64] + x[i + 128]) / 3.0;
    for i in 0..64 {
        assert!((grey(&x, i) - grey(&known, i)).abs() < 2e-3, "{i}");
    }
    assert!(apart(&x, &known) > 0.01);
}

#[test]
fn a_diffusers_folder_brings_its_own_scheduler() {
    let folder = tempfile::tempdir().unwrap();
    let model = kept("diffusers/ddpm_b");
    let model = model.to_str().unwrap();
    let draw = |more: &[&str]| {
        let common = ["sample", "--model", model, "--seeds", "0-1", "--out", "x.safetensors", "--json"];
        run_in(folder.path(), &[&common[..], more].concat())
    };
    let told = draw(&["--steps", "10"]).json();
    assert_eq!((&told["sampler"], &told["nfe"]), (&"DDPMScheduler, 10 steps".into(), &10.into()));
    // clip_sample bounds the prediction of the last step, which is the image.
    let x = || {
        safetensors::open(folder.path().join("x.safetensors"))
            .unwrap()
            .tensors
            .get("x")
            .unwrap()
            .to_f32()
            .unwrap()
    };
    let own = x();
    assert!(own.iter().all(|v| (-1e-5..=1.0 + 1e-5).contains(v)));
    // As an SDE it takes every other sampler.
    assert_eq!(draw(&["--sampler", "heun", "--steps", "3"]).json()["sampler"], "heun, 3 steps");
    assert!(
        draw(&["--sampler", "pc", "--steps", "25"]).json()["sampler"].as_str().unwrap().contains("ancestral")
    );
    draw(&["--snr", "0.1"]).fails(2, &["--sampler pc", "the model's own scheduler"]);
    draw(&["--steps", "1001"]).fails(2, &["steps", "1 to 1000"]);
    run_in(folder.path(), &["convert", model, "--out", "m.safetensors"]).ok();
    run_in(
        folder.path(),
        &["sample", "--model", "m.safetensors", "--seeds", "0-1", "--steps", "10", "--out", "x.safetensors"],
    )
    .ok();
    assert_eq!(x(), own);
}

/// A model that was never trained: the defaults of an architecture with some keys changed, as a file of ours.
fn untrained(at: &Path, name: ModelName, keys: &[(&str, &str)]) {
    untrained_as(&at.join("m.safetensors"), name, keys);
}

/// [`untrained`], under a name.
pub fn untrained_as(path: &Path, name: ModelName, keys: &[(&str, &str)]) {
    let mut config = Config::of(name);
    keys.iter().for_each(|(key, value)| config.set(key, value).unwrap());
    config.validate().unwrap();
    let network = models::build(&config).unwrap();
    let mut tensors = Tensors::new("untrained");
    for (param, values) in network.manifest().initialise(1) {
        tensors.insert(param.name.as_str(), Tensor::from_f32(&param.shape, values).unwrap()).unwrap();
    }
    let metadata = [("config".to_owned(), config.to_toml())];
    safetensors::save(path, &metadata, &tensors).unwrap();
}

#[test]
fn a_classifier_guides_and_must_fit_the_model() {
    let place = Place::new();
    let file = |name: &str| place.at().join(name);
    let fitting = [("data.image_size", "8"), ("data.centered", "true"), ("training.sde", "subvpsde")];
    let small =
        [("model.channel_multiplier", "1"), ("model.blocks_per_group", "1"), ("model.num_outputs", "3")];
    let fitting = [&fitting[..], &small].concat();
    untrained_as(&file("c.safetensors"), ModelName::Wideresnet, &fitting);
    let run = |classifier: &str, more: &[&str]| {
        let common = ["--classifier", classifier, "--seeds", "0-1", "--steps", "4", "--out", "x.safetensors"];
        place.run("class", &[&common[..], more].concat())
    };
    let drawn = |label: &str, guidance: &str| {
        let told = run("c.safetensors", &["--label", label, "--guidance", guidance, "--json"]).json();
        assert!(
            told["sampler"].as_str().unwrap().contains(&format!("class {label} by c.safetensors")),
            "{told}"
        );
        place.tensor("x.safetensors", "x").1
    };
    place.run("sample", &["--seeds", "0-1", "--steps", "4", "--out", "x.safetensors"]).ok();
    let (_, plain) = place.tensor("x.safetensors", "x");
    assert_eq!(drawn("1", "0"), plain, "guidance of 0 is none");
    let guided = drawn("1", "300");
    assert_ne!(guided, plain);
    assert_ne!(drawn("2", "300"), guided);
    run("c.safetensors", &["--label", "3"]).fails(2, &["label = 3", "classes 0 to 2"]);
    run("c.safetensors", &["--label", "1", "--guidance", "nan"]).fails(2, &["--guidance"]);
    run("c.safetensors", &["--label", "1", "--sampler", "ode"]).fails(2, &["--sampler ode"]);
    run("none.safetensors", &["--label", "1"]).fails(4, &["none.safetensors"]);
    let other = [&fitting[..], &[("training.sde", "vpsde")]].concat();
    untrained_as(&file("other.safetensors"), ModelName::Wideresnet, &other);
    run("other.safetensors", &["--label", "1"]).fails(2, &["training.sde", "vpsde", "subvpsde"]);
    let levels = [&fitting[..], &[("model.beta_max", "15")]].concat();
    untrained_as(&file("levels.safetensors"), ModelName::Wideresnet, &levels);
    run("levels.safetensors", &["--label", "1"]).fails(2, &["other noise levels", "beta_max"]);
    run_in(place.at(), &["convert", &place.model, "--config", "config.json", "--out", "m.safetensors"]).ok();
    run("m.safetensors", &["--label", "1"]).fails(2, &["which is no classifier"]);
}

#[test]
fn a_folder_for_diffusers_computes_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let drawn = |model: &str, more: &[&str]| {
        let common = ["sample", "--model", model, "--seeds", "0-1", "--steps", "2", "--out", "x.safetensors"];
        run_in(at, &[&common[..], more].concat()).ok();
        let file = safetensors::open(at.join("x.safetensors")).unwrap();
        file.tensors.get("x").unwrap().to_f32().unwrap()
    };
    let small = [("data.image_size", "8"), ("model.num_res_blocks", "1"), ("model.ch_mult", "[1, 1]")];
    let pyramids = [
        ("model.attn_resolutions", "[4]"),
        ("model.progressive", "output_skip"),
        ("model.progressive_input", "input_skip"),
    ];
    untrained(at, ModelName::Ncsnpp, &[&small[..], &pyramids[..]].concat());
    run_in(at, &["convert", "m.safetensors", "--to", "diffusers", "--out", "ve"]).ok();
    assert_eq!(drawn("ve", &[]), drawn("m.safetensors", &["--sampler", "pc"]));
    let vp = [
        ("training.sde", "vpsde"),
        ("data.centered", "true"),
        ("model.attn_resolutions", "[]"),
        ("model.nf", "32"),
    ];
    untrained(at, ModelName::Ddpm, &[&small[..], &vp[..]].concat());
    run_in(at, &["convert", "m.safetensors", "--to", "diffusers", "--out", "vp"]).ok();
    // Its betas go through a division by N and back.
    let (theirs, ours) =
        (drawn("vp", &["--sampler", "heun"]), drawn("m.safetensors", &["--sampler", "heun"]));
    assert!(apart(&theirs, &ours) < 1e-4 * ours.iter().fold(1.0, |m: f32, v| m.max(v.abs())));
    // What diffusers has no blocks for is refused.
    untrained(at, ModelName::Ncsnpp, &small);
    run_in(at, &["convert", "m.safetensors", "--to", "diffusers", "--out", "no"])
        .fails(2, &["model.progressive"]);
}
