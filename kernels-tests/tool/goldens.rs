//! The tool against the authors' numbers, where the golden data lies beside the checkout; else said and left out.

use std::path::{Path, PathBuf};

use langevin::checkpoint::{Tensors, safetensors};
use langevin::models::{self, Config, names};
use serde_json::Value;

use crate::{run, run_in};

/// The folder of all goldens.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/goldens")
}

/// The same. None, and a word on stderr, where it is not there.
fn goldens() -> Option<PathBuf> {
    let folder = folder();
    if folder.is_dir() {
        return Some(folder);
    }
    crate::left_out(format_args!("numbers of the authors: {} is not there", folder.display()));
    None
}

/// A case: its text, its tensors, and a folder with its model as a file and its configuration.
struct Case {
    json: Value,
    tensors: Tensors,
    folder: tempfile::TempDir,
}

/// The cases of a category whose name begins with `prefix`.
fn cases(category: &Path, prefix: &str) -> Vec<Case> {
    let mut names: Vec<PathBuf> = category.read_dir().unwrap().flatten().map(|e| e.path()).collect();
    names.sort();
    let is_case = |p: &PathBuf| {
        let name = p.file_name().unwrap().to_string_lossy();
        name.starts_with(prefix) && !name.starts_with("model_") && name.ends_with(".json")
    };
    let cases: Vec<Case> = names.iter().filter(|p| is_case(p)).map(|p| Case::open(p)).collect();
    assert!(!cases.is_empty(), "no case {prefix}* in {}", category.display());
    cases
}

pub fn text(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

impl Case {
    /// The weights that the case names, with its own in place of some, become one file.
    fn open(path: &Path) -> Self {
        let json = text(path);
        let tensors = safetensors::open(path.with_extension("safetensors")).unwrap().tensors;
        let model = path.with_file_name(json["config"]["model"].as_str().unwrap());
        let shared = safetensors::open(model.with_extension("safetensors")).unwrap().tensors;
        let mut weights = Tensors::new("model");
        for (name, tensor) in shared.iter().filter(|(name, _)| name.starts_with("param.")) {
            let own = tensors.get(&format!("override.{name}")).unwrap_or(tensor);
            weights.insert(name, own.clone()).unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        safetensors::save(folder.path().join("model.safetensors"), &[], &weights).unwrap();
        // The SDE is the case's own: several share a model.
        let mut config = text(&model.with_extension("json"))["config"].clone();
        for (key, value) in json["config"]["sde"].as_object().unwrap() {
            match key.as_str() {
                "type" => config["training"]["sde"] = value.clone(),
                "N" => config["model"]["num_scales"] = value.clone(),
                key => config["model"][key] = value.clone(),
            }
        }
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        Self { json, tensors, folder }
    }

    fn at(&self) -> &Path {
        self.folder.path()
    }

    fn id(&self) -> &str {
        self.json["case"].as_str().unwrap()
    }

    /// Writes a tensor of the case into the folder under another name; images come as models take them and go as [0, 1].
    fn put(&self, from: &str, file: &str, name: &str, image: bool) {
        let tensor = self.tensors.get(from).unwrap();
        let mut values = tensor.to_f32().unwrap();
        if image && self.json["config"]["centered"] == true {
            values.iter_mut().for_each(|v| *v = (*v + 1.0) / 2.0);
        }
        langevin::output::write_safetensors(&self.at().join(file), &[(name, tensor.shape(), &values)], &[])
            .unwrap();
    }

    /// `gen COMMAND` with the model and the case's tolerances.
    fn run(&self, command: &str, more: &[&str]) -> crate::Ran {
        let number = |key: &str| self.json["config"][key].to_string();
        self.run_with([number("rtol"), number("atol")], command, more)
    }

    fn run_with(&self, [rtol, atol]: [String; 2], command: &str, more: &[&str]) -> crate::Ran {
        let common = [command, "--model", "model.safetensors", "--config", "config.json", "--rtol", &rtol];
        run_in(self.at(), &[&common[..], &["--atol", &atol], more].concat())
    }

    /// The largest difference of a result from a tensor of the case, and what is allowed.
    fn check(&self, file: &str, name: &str, expected: &str) {
        let got = safetensors::open(self.at().join(file)).unwrap();
        let got = got.tensors.get(name).unwrap().to_f64().unwrap();
        let wanted = self.tensors.get(expected).unwrap().to_f64().unwrap();
        assert_eq!(got.len(), wanted.len());
        let worst = got.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let allowed = self.json["check"][expected]["tol_abs"].as_f64().unwrap();
        assert!(worst <= allowed, "{}: {expected} differs by {worst}, {allowed} is allowed", self.id());
    }
}

#[test]
fn decode_gives_the_samples_of_the_ode() {
    let Some(goldens) = goldens() else { return };
    for case in cases(&goldens.join("samplers"), "ode_") {
        case.put("in.z", "z.safetensors", "z", false);
        let denoise = case.json["config"]["denoise"] == true;
        // The times near the data are the authors' own, so that none is given.
        let more = ["--latent", "z.safetensors", "--out", "x.safetensors", "--denoise"];
        case.run("decode", if denoise { &more } else { &more[..4] }).ok();
        case.check("x.safetensors", "x", "out.sample");
    }
}

#[test]
fn encode_gives_the_latents_of_the_likelihood() {
    let Some(goldens) = goldens() else { return };
    // One for each SDE; the two kinds of probe do not differ in their latents.
    for case in cases(&goldens.join("likelihood"), "").into_iter().step_by(2) {
        case.put("in.data", "x.safetensors", "x", true);
        case.run("encode", &["--images", "x.safetensors", "--out", "z.safetensors"]).ok();
        case.check("z.safetensors", "z", "out.z");
    }
}

/// The case's probe is a draw like any other: what it gave lies within the spread of what the tool draws.
#[test]
fn likelihood_gives_bits_per_dimension_like_the_recorded_ones() {
    let Some(goldens) = goldens() else { return };
    // One with each kind of probe.
    for case in cases(&goldens.join("likelihood"), "").into_iter().step_by(3) {
        case.put("in.data", "x.safetensors", "x", true);
        let kind = case.json["config"]["hutchinson_type"].as_str().unwrap().to_lowercase();
        let told = case
            .run_with(
                // The spread of the probes is far above this.
                ["1e-2".into(), "1e-2".into()],
                "likelihood",
                &["--data", "x.safetensors", "--hutchinson", &kind, "--repeats", "6", "--json"],
            )
            .json();
        let recorded = case.tensors.get("out.bpd").unwrap().to_f64().unwrap();
        for (image, &recorded) in recorded.iter().enumerate() {
            let drawn = told["each"][image]["repeats"].as_array().unwrap();
            let drawn: Vec<f64> = drawn.iter().map(|v| v.as_f64().unwrap()).collect();
            let n = drawn.len() as f64;
            let mean = drawn.iter().sum::<f64>() / n;
            let spread = (drawn.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
            // Student's t with 5 degrees of freedom: 12 is exceeded once in 14,000.
            let allowed = 12.0 * spread * (1.0 + 1.0 / n).sqrt() + 1e-3;
            assert!(
                (recorded - mean).abs() < allowed,
                "{} image {image}: {recorded}, drawn {mean} ± {spread}",
                case.id()
            );
            assert!(spread < 0.1 * mean.abs(), "{}: a spread of {spread} says nothing", case.id());
        }
    }
}

#[test]
fn checkpoints_convert_to_the_recorded_tensors() {
    let Some(goldens) = goldens() else { return };
    let folder = goldens.join("checkpoints");
    let mut files: Vec<PathBuf> = folder.read_dir().unwrap().flatten().map(|e| e.path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "pth"));
    assert!(!files.is_empty());
    for file in files {
        let stem = file.file_stem().unwrap().to_string_lossy().replace("_legacy", "");
        let case = text(&folder.join(format!("{stem}.json")));
        let recorded = safetensors::open(folder.join(format!("{stem}.safetensors"))).unwrap().tensors;
        let at = tempfile::tempdir().unwrap();
        std::fs::write(at.path().join("config.json"), case["config"].to_string()).unwrap();
        let model = file.to_str().unwrap();
        let inspected = run(&["inspect", model, "--json"]).json();
        assert_eq!(
            (&inspected["step"], &inspected["ema"]["num_updates"]),
            (&case["step"], &case["ema"]["num_updates"])
        );
        let network = models::build(&Config::from_json(&case["config"]).unwrap()).unwrap();
        let theirs = names::torch_names(network.manifest()).unwrap();
        for raw in [false, true] {
            let more: &[&str] = if raw { &["--raw"] } else { &[] };
            let convert = ["convert", model, "--config", "config.json", "--out", "m.safetensors"];
            run_in(at.path(), &[&convert[..], more].concat()).ok();
            let ours = safetensors::open(at.path().join("m.safetensors")).unwrap().tensors;
            assert_eq!(ours.len(), theirs.len());
            for (param, name) in network.manifest().params().iter().zip(&theirs) {
                let averaged = !raw && param.trainable;
                let expected =
                    recorded.get(&format!("{}.{name}", if averaged { "ema" } else { "model" })).unwrap();
                let got = ours.get(&param.name).unwrap();
                assert_eq!(got.to_f32().unwrap(), expected.to_f32().unwrap(), "{stem}: {name}, raw: {raw}");
            }
        }
        let sample = [
            "sample",
            "--model",
            model,
            "--config",
            "config.json",
            "--seeds",
            "0",
            "--steps",
            "2",
            "--out",
            "x.png",
        ];
        run_in(at.path(), &sample).ok();
        let loose =
            ["likelihood", "--model", model, "--config", "config.json", "--data", "x.png", "--rtol", "0.1"];
        let told = run_in(at.path(), &[&loose[..], &["--atol", "0.1", "--json"]].concat()).json();
        assert!(told["mean"].as_f64().is_some_and(f64::is_finite), "{told}");
    }
}

#[test]
fn diffusers_folders_run() {
    let Some(goldens) = goldens() else { return };
    let folder = goldens.join("diffusers");
    let mut folders: Vec<PathBuf> = folder.read_dir().unwrap().flatten().map(|e| e.path()).collect();
    folders.retain(|p| p.is_dir());
    assert!(!folders.is_empty());
    for model in folders {
        let case = text(&model.with_extension("json"));
        let at = tempfile::tempdir().unwrap();
        let name = model.to_str().unwrap();
        let inspected = run(&["inspect", name, "--json"]).json();
        assert_eq!(inspected["format"], "diffusers");
        assert!(inspected["scheduler"]["_class_name"].as_str().is_some_and(|s| s.ends_with("Scheduler")));
        let run =
            |command: &str, more: &[&str]| run_in(at.path(), &[&[command, "--model", name], more].concat());
        let told =
            run("sample", &["--seeds", "0-1", "--steps", "3", "--out", "x.safetensors", "--json"]).json();
        let scheduler = if case["case"].as_str().unwrap().contains("ncsnpp") { "ScoreSdeVe" } else { "DDPM" };
        assert!(told["sampler"].as_str().unwrap().starts_with(scheduler), "{told}");
        run(
            "encode",
            &[
                "--images",
                "x.safetensors",
                "--any-range",
                "--rtol",
                "0.1",
                "--atol",
                "0.1",
                "--out",
                "z.safetensors",
            ],
        )
        .ok();
        // Random weights draw nothing near [0, 1].
        let loose = [
            "--data",
            "x.safetensors",
            "--any-range",
            "--n",
            "1",
            "--rtol",
            "0.1",
            "--atol",
            "0.1",
            "--json",
        ];
        assert!(run("likelihood", &loose).json()["mean"].is_number());
    }
}
