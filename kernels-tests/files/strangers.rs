//! The weights of the embedded model in the forms in which training programs save them: whatever stands around them, they are found.

use std::path::Path;
use std::sync::OnceLock;

use langevin::checkpoint::torch::{self, Part};
use langevin::checkpoint::{SavedModel, Source, Tensor, Tensors, Which};
use langevin::models::{Config, names};

use super::pickles::{Pickle, zip_file};

/// Bytes of the storages, by number.
type Storages = Vec<Vec<u8>>;

/// The embedded model's weights under the authors' names.
fn weights() -> &'static [(String, Tensor)] {
    static WEIGHTS: OnceLock<Vec<(String, Tensor)>> = OnceLock::new();
    WEIGHTS.get_or_init(|| {
        let saved = SavedModel::embedded(&Ok).unwrap();
        let theirs = names::torch_names(saved.network.manifest()).unwrap();
        let tensors = saved.tensors(Which::Ema);
        let ours = saved.network.manifest().params().iter().map(|p| tensors.get(&p.name).unwrap().clone());
        theirs.into_iter().zip(ours.collect::<Vec<_>>()).collect()
    })
}

fn config() -> Config {
    SavedModel::embedded(&Ok).unwrap().config
}

/// A file under construction: its pickle, and the storages that it names.
struct File {
    pickle: Pickle,
    storages: Storages,
}

impl File {
    fn new() -> Self {
        Self { pickle: Pickle::new(), storages: Vec::new() }
    }

    fn add(mut self, change: impl FnOnce(Pickle) -> Pickle) -> Self {
        self.pickle = change(self.pickle);
        self
    }

    /// A tensor, `factor` times the embedded one.
    fn tensor(mut self, tensor: &Tensor, factor: f32) -> Self {
        let values: Vec<u8> =
            tensor.to_f32().unwrap().iter().flat_map(|v| (v * factor).to_le_bytes()).collect();
        let shape: Vec<i64> = tensor.shape().iter().map(|n| *n as i64).collect();
        let strides: Vec<i64> = (0..shape.len()).map(|i| shape[i + 1..].iter().product()).collect();
        let key = self.storages.len().to_string();
        self.pickle = self.pickle.tensor(&key, tensor.len() as i64, 0, &shape, &strides);
        self.storages.push(values);
        self
    }

    /// A state dict with names that `name` changes.
    fn state_dict(self, factor: f32, name: impl Fn(&str) -> String) -> Self {
        let file = self.add(|p| p.op(b"}("));
        let fill = |file: Self, (key, tensor): &(String, Tensor)| {
            file.add(|p| p.str(&name(key))).tensor(tensor, factor)
        };
        weights().iter().fold(file, fill).add(|p| p.op(b"u"))
    }

    /// `key: state dict`, as an item of the dict on top.
    fn item(self, key: &str, factor: f32, name: impl Fn(&str) -> String) -> Self {
        self.add(|p| p.str(key)).state_dict(factor, name).add(|p| p.op(b"s"))
    }

    /// `key: {"decay": …, "shadow_params": [tensors]}`.
    fn shadow_list(self, key: &str) -> Self {
        let file = self.add(|p| p.str(key).op(b"}").str("decay").op(b"G\x3f\xef\xf7\xce\xd9\x16\x87\x2bs"));
        let file = file.add(|p| p.str("shadow_params").op(b"]("));
        let file = weights().iter().fold(file, |file, (_, tensor)| file.tensor(tensor, 1.0));
        file.add(|p| p.op(b"ess"))
    }

    fn bytes(self) -> Vec<u8> {
        let keys: Vec<String> = (0..self.storages.len()).map(|i| i.to_string()).collect();
        let storages: Vec<(&str, &[u8])> =
            keys.iter().map(String::as_str).zip(self.storages.iter().map(Vec::as_slice)).collect();
        zip_file(&self.pickle.stop(), &storages)
    }
}

/// Opens the bytes as a user opens a file.
fn try_open(bytes: &[u8]) -> langevin::Result<SavedModel> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stranger.pth");
    std::fs::write(&path, bytes).unwrap();
    let saved = SavedModel::open(&path, Some(config()))?;
    // The tensors lie in the file, which goes with the folder.
    saved.tensors(Which::Ema).checksum()?;
    Ok(saved)
}

/// The weights that are taken have to be the embedded ones.
#[track_caller]
fn open(bytes: &[u8]) -> SavedModel {
    let saved = try_open(bytes).unwrap();
    check(&saved, Which::Ema, 1.0);
    saved
}

/// The weights are the embedded ones times `factor`, bit for bit.
#[track_caller]
fn check(saved: &SavedModel, which: Which, factor: f32) {
    let params = saved.network.manifest().params();
    for (param, (_, tensor)) in params.iter().zip(weights()) {
        let expected: Vec<f32> = tensor.to_f32().unwrap().iter().map(|v| v * factor).collect();
        let got = saved.tensors(which).get(&param.name).unwrap().to_f32().unwrap();
        assert_eq!(got, expected, "{}", param.name);
    }
}

fn same(name: &str) -> String {
    name.to_owned()
}

#[test]
fn objects_beside_the_weights_are_passed_over() {
    let file = File::new().add(|p| p.op(b"}")).item("model", 0.97, same).shadow_list("ema");
    // An argument object with a state, a path, a random state of numpy with an array, a device, a dtype, a defaultdict.
    let file = file.add(|p| {
        p.str("args")
            .global("argparse", "Namespace")
            .op(b")\x81}")
            .str("lr")
            .op(b"K\x01sbs")
            .str("folder")
            .global("pathlib", "PosixPath")
            .op(b"(")
            .str("runs")
            .op(b"tRs")
            .str("rng")
            .op(b"(")
            .str("MT19937")
            .global("numpy.core.multiarray", "_reconstruct")
            .global("numpy", "ndarray")
            .op(b"K\x00\x85C\x01b\x87R(K\x01K\x02\x85")
            .global("numpy", "dtype")
            .str("u4")
            .op(b"\x89\x88\x87R(K\x03")
            .str("<")
            .op(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89C\x0812345678tbts")
            .str("device")
            .global("torch", "device")
            .op(b"(")
            .str("cuda")
            .op(b"K\x00tRs")
            .str("dtype")
            .global("torch", "float32")
            .op(b"s")
            .str("history")
            .global("collections", "defaultdict")
            .global("builtins", "list")
            .op(b"\x85R")
            .str("loss")
            .op(b"]ss")
            .str("seen")
            .global("builtins", "set")
            .op(b"](K\x01K\x02e\x85Rs")
    });
    let bytes = file.bytes();
    let saved = open(&bytes);
    assert!(saved.has_ema());
    let file = torch::read(&Source::memory("x", bytes)).unwrap();
    let found = |place: &str| file.found.iter().find(|f| f.place == place).unwrap();
    assert_eq!(found("model").part, Part::Weights);
    assert_eq!(found("ema.shadow_params").part, Part::Average);
    assert!(found("args").what.contains("argparse.Namespace") && found("args").part == Part::Other);
    assert_eq!(found("history").what, "a dict");
}

#[test]
fn lists_of_the_ncsnv2_code_base_are_read() {
    let module = |name: &str| format!("module.{name}");
    let file = File::new().add(|p| p.op(b"]")).state_dict(0.97, module);
    let file =
        file.add(|p| p.op(b"a}").str("state").op(b"}s").str("param_groups").op(b"]saK\x07aM\x2c\x01a"));
    // Without an average the raw weights are all there is.
    let plain = File { pickle: file.pickle.clone(), storages: file.storages.clone() };
    check(&try_open(&plain.bytes()).unwrap(), Which::Ema, 0.97);
    let saved = open(&file.state_dict(1.0, same).add(|p| p.op(b"a")).bytes());
    assert!(saved.has_ema() && saved.step == Some(300));
}

#[test]
fn averages_are_found_under_the_names_that_programs_use() {
    for key in
        ["ema", "model_ema", "ema_model", "ema_state_dict", "params_ema", "ema_0.9999", "state_dict_ema"]
    {
        let file = File::new().add(|p| p.op(b"}")).item("model", 0.97, same).item(key, 1.0, same);
        let saved = open(&file.bytes());
        assert!(saved.note.as_deref().unwrap().contains(key), "{:?}", saved.note);
    }
    // Nested: {"ema": {"decay": …, "shadow": {…}}}.
    let nested = File::new().add(|p| p.op(b"}")).item("net", 0.97, same);
    let nested = nested.add(|p| p.str("ema").op(b"}").str("decay").op(b"K\x01s")).item("shadow", 1.0, same);
    open(&nested.add(|p| p.op(b"s")).bytes());
    // ema_pytorch keeps both copies in one state dict.
    let file = File::new().add(|p| p.op(b"}")).item("model", 0.97, same).add(|p| p.str("ema").op(b"}("));
    let put = |file: File, prefix: &str, factor: f32| {
        let fill = |file: File, (key, tensor): &(String, Tensor)| {
            file.add(|p| p.str(&format!("{prefix}{key}"))).tensor(tensor, factor)
        };
        weights().iter().fold(file, fill)
    };
    let file = put(put(file, "online_model.", 0.97), "ema_model.", 1.0).add(|p| p.op(b"us"));
    open(&file.bytes());
    // Lightning's, without dots, beside the weights.
    let file = put(File::new().add(|p| p.op(b"}").str("state_dict").op(b"}(")), "model.", 0.97);
    let squeezed = |file: File, (key, tensor): &(String, Tensor)| {
        file.add(|p| p.str(&format!("model_ema.{}", key.replace('.', "")))).tensor(tensor, 1.0)
    };
    let file = weights().iter().fold(file, squeezed).add(|p| p.op(b"us"));
    open(&file.bytes());
    // Nothing but an average.
    let saved = open(&File::new().add(|p| p.op(b"}")).item("ema", 1.0, same).bytes());
    assert!(saved.check(Which::Raw).is_err() && saved.check(Which::Ema).is_ok());
}

#[test]
fn prefixes_come_off_in_every_order_and_format() {
    for prefix in ["module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module.", "mine.net."] {
        let name = |name: &str| format!("{prefix}{name}");
        open(&File::new().state_dict(1.0, name).bytes());
        let mut tensors = Tensors::new("x");
        for (key, tensor) in weights() {
            tensors.insert(name(key), tensor.clone()).unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        langevin::checkpoint::safetensors::save(&path, &[], &tensors).unwrap();
        check(&SavedModel::open(&path, Some(config())).unwrap(), Which::Ema, 1.0);
    }
}

#[test]
fn only_resuming_needs_the_optimizer() {
    let file = File::new().add(|p| p.op(b"}").str("optimizer").op(b"}").str("state").op(b"}K\x00}"));
    let file = file.add(|p| p.str("momentum_buffer")).tensor(&weights()[0].1, 1.0);
    let file = file.add(|p| p.op(b"sss").str("param_groups").op(b"]ss")).item("model", 1.0, same);
    let bytes = file.bytes();
    open(&bytes);
    let file = torch::read(&Source::memory("x", bytes)).unwrap();
    let problem = file.optimizer.unwrap().unwrap_err().to_string();
    assert!(problem.contains("optimizer.state[0].step is missing"), "{problem}");
}

#[test]
fn an_average_that_cannot_be_used_leaves_the_raw_weights() {
    // An object in place of one tensor of the average; the message names it.
    let file = File::new().add(|p| p.op(b"}")).item("model", 1.0, same).add(|p| p.str("ema").op(b"}("));
    let fill = |file: File, (i, (key, tensor)): (usize, &(String, Tensor))| {
        let file = file.add(|p| p.str(key));
        if i == 3 { file.add(|p| p.global("mine", "Ema").op(b")\x81")) } else { file.tensor(tensor, 0.9) }
    };
    let file = weights().iter().enumerate().fold(file, fill).add(|p| p.op(b"us"));
    let saved = try_open(&file.bytes()).unwrap();
    check(&saved, Which::Raw, 1.0);
    let problem = saved.check(Which::Ema).unwrap_err().to_string();
    assert!(problem.contains("`mine.Ema`") && problem.contains(&weights()[3].0), "{problem}");
    // A list of another length.
    let shadow = File::new().add(|p| p.op(b"}")).item("model", 1.0, same);
    let shadow = shadow.add(|p| p.str("ema").op(b"}").str("shadow_params").op(b"]("));
    let shadow = shadow.tensor(&weights()[0].1, 1.0).add(|p| p.op(b"ess"));
    let saved = try_open(&shadow.bytes()).unwrap();
    check(&saved, Which::Raw, 1.0);
    let problem = saved.check(Which::Ema).unwrap_err().to_string();
    assert!(problem.contains("raw weights") && problem.contains("1 tensors"), "{problem}");
    assert!(saved.check(Which::Raw).is_ok());
}

#[test]
fn an_object_in_place_of_weights_is_named() {
    let (name, _) = &weights()[0];
    let file = File::new().add(|p| p.op(b"}").str("model").op(b"}("));
    let fill = |file: File, (key, tensor): &(String, Tensor)| file.add(|p| p.str(key)).tensor(tensor, 1.0);
    let file = weights()[1..].iter().fold(file, fill);
    let bytes = file.add(|p| p.str(name).global("quantized", "Packed").op(b")\x81us")).bytes();
    let problem = try_open(&bytes).map(drop).unwrap_err().to_string();
    assert!(problem.contains("`quantized.Packed`") && problem.contains(name.as_str()), "{problem}");
    // A whole model.
    let whole = zip_file(&Pickle::new().global("mine", "Net").op(b")\x81}b").stop(), &[]);
    let problem = try_open(&whole).map(drop).unwrap_err().to_string();
    assert!(problem.contains("`mine.Net`") && problem.contains("state_dict()"), "{problem}");
    assert!(!Path::new("pwned").exists());
}
