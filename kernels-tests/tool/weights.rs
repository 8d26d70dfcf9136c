//! Weights as others publish them, the authors' `.pth` and folders of diffusers, through the tool: what the network gives for the
//! recorded input is worked out from what `gen decode` gives, and held against what PyTorch gave.
//!
//! The golden data beside the checkout is taken where it is, else the part of it that the repository keeps.

use std::path::{Path, PathBuf};

use langevin::checkpoint::{Tensors, safetensors};
use serde_json::Value;

use crate::goldens::{self, text};
use crate::models::kept;
use crate::run_in;

/// The folder of a category.
fn category(name: &str) -> PathBuf {
    let whole = goldens::folder().join(name);
    if whole.is_dir() {
        return whole;
    }
    crate::left_out(format_args!(
        "{name}: {} is not there; the repository's part of it is taken",
        whole.display()
    ));
    kept(name)
}

/// A model, and how it is told to `gen`.
struct Model<'a> {
    at: &'a Path,
    arguments: Vec<&'a str>,
    shape: [usize; 4],
}

impl Model<'_> {
    fn run(&self, command: &str, more: &[&str]) {
        run_in(self.at, &[&[command], &self.arguments[..], more].concat()).ok();
    }

    fn write(&self, file: &str, name: &str, values: &[f64]) {
        let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
        langevin::output::write_safetensors(&self.at.join(file), &[(name, &self.shape, &values)], &[])
            .unwrap();
    }

    fn read(&self, file: &str) -> Vec<f64> {
        let file = safetensors::open(self.at.join(file)).unwrap();
        file.tensors.get("x").unwrap().to_f64().unwrap()
    }

    /// The output for `x` at the noise level σ of a VE model. σ becomes that of t = 1, so that decoding ends where it begins, and the
    /// mean of a step of reverse diffusion is x + G²·output with G² = σ₁² − σ₀² of the table (σ/2, σ/√2, σ).
    fn ve(&self, x: &[f64], sigma: f64) -> Vec<f64> {
        self.write("z.safetensors", "z", x);
        let [max, min] = [sigma, sigma / 2.0];
        let (max, min) = (format!("model.sigma_max={max}"), format!("model.sigma_min={min}"));
        let table = ["--set", &max, "--set", &min, "--set", "model.num_scales=3"];
        let end =
            ["--latent", "z.safetensors", "--t-eps", "0.99999999", "--denoise", "--out", "x.safetensors"];
        self.run("decode", &[&table[..], &end].concat());
        let mean = self.read("x.safetensors");
        mean.iter().zip(x).map(|(mean, x)| (mean - x) / (sigma * sigma / 4.0)).collect()
    }

    /// The output for `x` at a label of a model with VP's score, −output/std. As a chain of N steps of one variance γ it is told t·(N − 1):
    /// with N a little above the label, the way from there to t = 1 and back is one label long. The mean of a step of the chain at its end
    /// is (2 − √(1 − γ))·x + γ·score, where std² = 1 − (1 − γ)^(label + 1).
    fn vp(&self, x: &[f64], label: f64) -> Vec<f64> {
        const GAMMA: f64 = 0.01;
        let last = label.floor() + 1.0;
        // A little above a whole label, which rounding in f32 takes away again, so that its row of the table is met.
        let time = format!("{}", (label + 1e-7) / last);
        let n = last + 1.0;
        let unit: Vec<f64> = x.iter().map(|v| (v + 1.0) / 2.0).collect();
        self.write("images.safetensors", "x", &unit);
        let keys = [
            "training.sde=vpsde".into(),
            "training.continuous=false".into(),
            format!("model.num_scales={n}"),
            format!("model.beta_min={}", GAMMA * n),
            format!("model.beta_max={}", GAMMA * n),
        ];
        let sets = keys.iter().flat_map(|key| ["--set", key]);
        let common: Vec<&str> = sets.chain(["--t-eps", &time, "--rtol", "1e-6", "--atol", "1e-6"]).collect();
        let run = |command: &str, more: &[&str]| self.run(command, &[&common[..], more].concat());
        run("encode", &["--images", "images.safetensors", "--any-range", "--out", "z.safetensors"]);
        run("decode", &["--latent", "z.safetensors", "--out", "x.safetensors"]);
        run("decode", &["--latent", "z.safetensors", "--denoise", "--out", "mean.safetensors"]);
        let centered = |file: &str| self.read(file).into_iter().map(|v| 2.0 * v - 1.0).collect::<Vec<f64>>();
        let (back, mean) = (centered("x.safetensors"), centered("mean.safetensors"));
        let far = back.iter().zip(x).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(far < 1e-5, "the image came back {far} away");
        let std = (1.0 - (1.0 - GAMMA).powf(last)).sqrt();
        let kept = 2.0 - (1.0 - GAMMA).sqrt();
        mean.iter().zip(&back).map(|(mean, x)| -(mean - kept * x) / GAMMA * std).collect()
    }
}

/// Image `i` of a tensor, and the shape of one.
fn image(tensors: &Tensors, name: &str, i: usize) -> (Vec<f64>, [usize; 4]) {
    let tensor = tensors.get(name).unwrap();
    let [_, c, h, w] = *tensor.shape() else { panic!("{name} has shape {:?}", tensor.shape()) };
    (tensor.to_f64().unwrap()[i * c * h * w..][..c * h * w].to_vec(), [1, c, h, w])
}

/// Holds an output against image `i` of a tensor of a case.
#[track_caller]
fn check(case: &Value, tensors: &Tensors, name: &str, i: usize, got: &[f64]) {
    let (expected, _) = image(tensors, name, i);
    let worst = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let allowed = case["check"][name]["tol_abs"].as_f64().unwrap();
    assert!(worst <= allowed, "{}: {name} image {i} differs by {worst}, {allowed} is allowed", case["case"]);
}

#[test]
fn checkpoints_of_the_authors_give_the_recorded_outputs() {
    let folder = category("checkpoints");
    let mut files: Vec<PathBuf> = folder.read_dir().unwrap().flatten().map(|e| e.path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "pth"));
    files.sort();
    assert!(!files.is_empty());
    for file in &files {
        let stem = file.file_stem().unwrap().to_string_lossy().replace("_legacy", "");
        let case = text(&folder.join(format!("{stem}.json")));
        let tensors = safetensors::open(folder.join(format!("{stem}.safetensors"))).unwrap().tensors;
        let at = tempfile::tempdir().unwrap();
        std::fs::write(at.path().join("config.json"), case["config"].to_string()).unwrap();
        let times = tensors.get("in.time_cond").unwrap().to_f64().unwrap();
        for (i, (name, raw)) in [("out.ema", None), ("out.raw", Some("--raw"))].into_iter().enumerate() {
            let (x, shape) = image(&tensors, "in.x", i);
            let mut arguments = vec!["--model", file.to_str().unwrap(), "--config", "config.json"];
            arguments.extend(raw);
            let model = Model { at: at.path(), arguments, shape };
            let got = match case["config"]["training"]["sde"].as_str().unwrap() {
                "vesde" => model.ve(&x, times[i]),
                // Sub-VP differs in the SDE alone.
                _ => model.vp(&x, times[i]),
            };
            check(&case, &tensors, name, i, &got);
        }
    }
}

#[test]
fn folders_of_diffusers_give_the_recorded_outputs() {
    let category = category("diffusers");
    let mut folders: Vec<PathBuf> = category.read_dir().unwrap().flatten().map(|e| e.path()).collect();
    folders.retain(|p| p.is_dir());
    folders.sort();
    assert!(!folders.is_empty());
    for folder in &folders {
        let case = text(&folder.with_extension("json"));
        let tensors = safetensors::open(folder.with_extension("safetensors")).unwrap().tensors;
        let at = tempfile::tempdir().unwrap();
        let times = tensors.get("in.timestep").unwrap().to_f64().unwrap();
        // The way to a label and back takes three runs, a noise level one.
        let is_ve = case["config"]["time_embedding_type"] == "fourier";
        for (i, &time) in times.iter().enumerate().take(if is_ve { 2 } else { 1 }) {
            let (x, shape) = image(&tensors, "in.x", i);
            let model = Model { at: at.path(), arguments: vec!["--model", folder.to_str().unwrap()], shape };
            let got = if is_ve { model.ve(&x, time) } else { model.vp(&x, time) };
            check(&case, &tensors, "out.y", i, &got);
        }
    }
}
