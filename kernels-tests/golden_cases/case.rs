//! One golden case: its JSON, and its tensors, read when they are first asked for.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};

use crate::fields::Fields;

/// Keys that a case may have at its top level. Another one would ask for something that is not done here.
const KNOWN_KEYS: &[&str] = &[
    "accepted_times_f64",
    "adam_step",
    "buffers",
    "case",
    "category",
    "check",
    "config",
    "config_name",
    "description",
    "draws",
    "ema",
    "ema_order",
    "exactly_zero_gradients",
    "files",
    "folder",
    "ideal",
    "index_mismatches_f32_vs_f64",
    "index_mismatches_f32_vs_ideal",
    "init",
    "key_naming",
    "label_mismatches_f32_vs_f64",
    "layout",
    "macs_batch1",
    "macs_note",
    "module_types",
    "nfe",
    "note",
    "note_grads",
    "num_all_modules",
    "num_leaf_modules",
    "num_modules",
    "num_param_tensors",
    "num_params",
    "num_params_trainable",
    "offset",
    "param_order",
    "params",
    "params_without_gradient",
    "produced_by",
    "reported_nfe",
    "runs",
    "step",
    "tensors",
    "time_cond",
    "times",
    "updates",
    "used_by",
    "worst_f32_rel_err",
];

/// A tensor of a case, or one that was computed. Every f32 and every integer up to 2^53 keeps its value in f64.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Sizes, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// Row-major.
    pub data: Vec<f64>,
}

impl Tensor {
    /// A tensor of f64 values.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<f64>) -> Self {
        let shape = shape.into();
        assert_eq!(shape.iter().product::<usize>(), data.len(), "a tensor of shape {shape:?}");
        Self { shape, data }
    }

    /// A tensor of f32 values.
    pub fn from_f32(shape: impl Into<Vec<usize>>, data: &[f32]) -> Self {
        Self::new(shape, data.iter().map(|&v| f64::from(v)).collect())
    }

    /// The values rounded to f32; exact where they came from f32.
    pub fn to_f32(&self) -> Vec<f32> {
        self.data.iter().map(|&v| v as f32).collect()
    }

    /// Permutes the axes: `n c h w` to `n h w c` is `[0, 2, 3, 1]`.
    pub fn permute(&self, axes: &[usize]) -> Self {
        assert_eq!(axes.len(), self.shape.len(), "permute {:?} by {axes:?}", self.shape);
        let mut strides = vec![1; self.shape.len()];
        for axis in (1..self.shape.len()).rev() {
            strides[axis - 1] = strides[axis] * self.shape[axis];
        }
        let shape: Vec<usize> = axes.iter().map(|&axis| self.shape[axis]).collect();
        let mut index = vec![0; shape.len()];
        let data = (0..self.data.len())
            .map(|_| {
                let at: usize = axes.iter().zip(&index).map(|(&axis, &i)| strides[axis] * i).sum();
                for axis in (0..shape.len()).rev() {
                    index[axis] += 1;
                    if index[axis] < shape[axis] {
                        break;
                    }
                    index[axis] = 0;
                }
                self.data[at]
            })
            .collect();
        Self { shape, data }
    }
}

/// One case of a category.
pub struct Case {
    /// `<category>/<case>`.
    pub id: String,
    /// The file's stem.
    pub name: String,
    /// The category's folder.
    pub dir: PathBuf,
    slack: f64,
    json: Map<String, Value>,
    bytes: OnceCell<Result<Vec<u8>, String>>,
}

impl Case {
    /// Reads the JSON at `path`. Refuses top-level keys that nobody here knows.
    pub fn open(path: &Path) -> Result<Self, String> {
        let name = stem(path);
        let dir = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let category = dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let json: Value = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        let Value::Object(json) = json else { return Err(format!("{}: not a JSON object", path.display())) };
        if let Some(key) = json.keys().find(|key| !KNOWN_KEYS.contains(&key.as_str())) {
            return Err(format!("unknown key {key:?}"));
        }
        Ok(Self { id: format!("{category}/{name}"), name, dir, slack: 1.0, json, bytes: OnceCell::new() })
    }

    /// The case with tolerances `slack` times as wide, for kernels that round more than f32.
    pub fn with_slack(self, slack: f64) -> Self {
        Self { slack, ..self }
    }

    /// How many times wider than `tol_abs` a tolerance is; 1 unless said otherwise.
    pub fn slack(&self) -> f64 {
        self.slack
    }

    /// The value of a top-level key.
    pub fn key(&self, key: &str) -> Result<&Value, String> {
        self.json.get(key).ok_or_else(|| format!("the JSON has no key {key:?}"))
    }

    /// The value of a top-level key that not every case has.
    pub fn optional_key(&self, key: &str) -> Option<&Value> {
        self.json.get(key)
    }

    /// `config`, which says what to run. Call [`Fields::finish`] when all of it was read.
    pub fn config(&self) -> Result<Fields<'_>, String> {
        Fields::new("config", self.key("config")?)
    }

    /// The table `check`: tensor names and their rules.
    pub fn check(&self) -> Result<&Map<String, Value>, String> {
        self.key("check")?.as_object().ok_or_else(|| "`check` is not an object".into())
    }

    /// The names of all tensors in the file, sorted.
    pub fn tensor_names(&self) -> Result<Vec<String>, String> {
        let mut names: Vec<String> = self.file()?.names().into_iter().map(String::from).collect();
        names.sort();
        Ok(names)
    }

    /// Whether the file has a tensor of this name.
    pub fn has(&self, name: &str) -> Result<bool, String> {
        Ok(self.file()?.names().contains(&name))
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Result<Tensor, String> {
        let file = self.file()?;
        let view = file.tensor(name).map_err(|e| format!("tensor {name}: {e}"))?;
        let bytes = view.data();
        let data = match view.dtype() {
            Dtype::F32 => decode::<4>(bytes, |b| f64::from(f32::from_le_bytes(b))),
            Dtype::F64 => decode::<8>(bytes, f64::from_le_bytes),
            Dtype::I64 => decode::<8>(bytes, |b| i64::from_le_bytes(b) as f64),
            Dtype::I32 => decode::<4>(bytes, |b| f64::from(i32::from_le_bytes(b))),
            Dtype::U8 | Dtype::BOOL => decode::<1>(bytes, |b| f64::from(b[0])),
            other => return Err(format!("tensor {name}: unknown element type {other:?}")),
        };
        Ok(Tensor::new(view.shape(), data))
    }

    /// Every tensor whose name begins with `prefix`, with the prefix taken off, in the order of their names.
    pub fn tensors_under(&self, prefix: &str) -> Result<Vec<(String, Tensor)>, String> {
        let names = self.tensor_names()?;
        let under = names.iter().filter_map(|name| name.strip_prefix(prefix));
        under.map(|rest| Ok((rest.to_string(), self.tensor(&format!("{prefix}{rest}"))?))).collect()
    }

    fn file(&self) -> Result<SafeTensors<'_>, String> {
        let path = self.dir.join(format!("{}.safetensors", self.name));
        let read = || std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()));
        let bytes = self.bytes.get_or_init(read).as_ref().map_err(String::clone)?;
        SafeTensors::deserialize(bytes).map_err(|e| format!("{}.safetensors: {e}", self.id))
    }
}

/// Whether a JSON of this stem in this category is a case: not weights that cases share, not the summary table.
pub fn counts(category: &str, stem: &str) -> bool {
    let shared_weights = category != "models" && stem.starts_with("model_");
    let table = category == "full" && stem == "summary";
    !shared_weights && !table
}

/// A file's name without its last extension.
pub fn stem(path: &Path) -> String {
    path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
}

fn decode<const N: usize>(bytes: &[u8], one: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(|&chunk| one(chunk)).collect()
}
