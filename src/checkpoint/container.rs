//! Our own checkpoints: one safetensors file that holds everything a run needs to go on exactly where it was.
//!
//! Tensors are named `weights.…`, `ema.…`, `adam_m.…`, `adam_v.…`; the metadata hold the rest as text, an XXH64
//! for each tensor, and one for the header itself. Any reader of safetensors opens the file; this one verifies it.

use std::collections::{BTreeMap, HashMap};
#[cfg(feature = "files")]
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

#[cfg(feature = "files")]
use crate::checkpoint::files::{Files, OsFiles, Staged, replace};
use crate::checkpoint::safetensors::Header;
#[cfg(feature = "files")]
use crate::checkpoint::safetensors::{self, Metadata};
use crate::checkpoint::source::Source;
use crate::checkpoint::tensors::Tensors;
use crate::checkpoint::xxh64::Xxh64;
use crate::{Error, Result};

/// Value of the metadata key `format`.
const FORMAT: &str = "langevin-checkpoint";
/// Raised whenever an older reader would misread the file.
const VERSION: u32 = 1;
/// Prefix of the metadata keys that hold a tensor's checksum.
const TENSOR_SUM: &str = "xxh64 ";
/// The metadata key of the header's checksum.
const HEADER_SUM: &str = "xxh64";
/// Prefix of the metadata keys of [`Checkpoint::extra`].
const EXTRA: &str = "extra.";

/// The state of a training run.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    /// The config, TOML.
    pub config: String,
    /// Updates done.
    pub step: u64,
    /// The run's seed: every random number follows from it, the step and the global image number.
    pub seed: u64,
    /// Place in the data.
    pub data: DataPosition,
    /// The moving average's state, where there is one.
    pub ema: Option<EmaState>,
    /// The kernel chosen for each op, by the op's key: resume takes the same, since the choice is part of the result.
    pub kernels: BTreeMap<String, String>,
    /// Whatever else the run keeps, by name.
    pub extra: BTreeMap<String, String>,
    /// Parameters and buffers.
    pub weights: Tensors,
    /// Their moving average; empty where there is none.
    pub ema_weights: Tensors,
    /// Adam's first moment; empty where there is none.
    pub adam_m: Tensors,
    /// Adam's second moment; empty where there is none.
    pub adam_v: Tensors,
}

/// Where the next batch comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DataPosition {
    /// Passes over the data that are complete.
    pub epoch: u64,
    /// Images taken in this pass.
    pub index: u64,
}

/// A checkpoint and where it was found.
#[derive(Debug)]
pub struct Loaded {
    /// Verified.
    pub checkpoint: Checkpoint,
    /// Its file.
    pub path: PathBuf,
    /// What the user should know: that the newest was missing or damaged, and why.
    pub note: Option<String>,
}

/// State of the moving average beside its tensors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EmaState {
    /// Decay rate.
    pub decay: f64,
    /// Updates so far.
    pub num_updates: u64,
}

/// Whether the metadata are those of a checkpoint of ours.
pub(super) fn is_ours(metadata: &[(String, String)]) -> bool {
    metadata.iter().any(|(key, value)| key == "format" && value == FORMAT)
}

impl Checkpoint {
    /// Opens a checkpoint; the elements of its tensors are verified when they are read, or all at once by [`Checkpoint::verify`].
    ///
    /// Errors: [`Error::Io`]; [`Error::Format`] where the header is damaged or of a newer version.
    #[cfg(feature = "files")]
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::read(&Source::open(path)?)
    }

    /// [`Checkpoint::open`], from any source.
    pub fn read(source: &Arc<Source>) -> Result<Self> {
        Self::of_header(&Header::read(source)?, source)
    }

    /// The same of a header that was read already.
    pub(super) fn of_header(header: &Header, source: &Arc<Source>) -> Result<Self> {
        let fields = Fields { source, map: fields(&header.metadata) };
        if fields.text("format")? != FORMAT {
            return Err(source.bad("it is no checkpoint of this program"));
        }
        let version: u32 = fields.number("format_version")?;
        if version > VERSION {
            return Err(source.bad(format!(
                "it has version {version} of the format, this program reads up to {VERSION}; update it"
            )));
        }
        let descriptions =
            header.infos.iter().map(|info| (&*info.name, info.dtype.name(), info.shape.as_slice()));
        let sum = header_sum(&header.metadata, descriptions);
        let recorded = fields.hex(HEADER_SUM)?;
        if sum != recorded {
            return Err(
                source.bad(format!("its header is damaged: checksum {sum:016x}, recorded {recorded:016x}"))
            );
        }
        for info in &header.infos {
            fields.hex(&format!("{TENSOR_SUM}{}", info.name))?;
        }
        let tensors = header.tensors(source, |name| fields.hex(&format!("{TENSOR_SUM}{name}")).ok())?;
        let ema = match fields.map.get("ema_decay") {
            None => None,
            Some(_) => Some(EmaState {
                decay: fields.number("ema_decay")?,
                num_updates: fields.number("ema_num_updates")?,
            }),
        };
        let kernels = serde_json::from_str(fields.text("kernels")?)
            .map_err(|error| source.bad(format!("its kernels are no table: {error}")))?;
        let extra = header
            .metadata
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(EXTRA)?.to_string(), value.clone())));
        Ok(Self {
            config: fields.text("config")?.into(),
            step: fields.number("step")?,
            seed: fields.number("seed")?,
            data: DataPosition { epoch: fields.number("data_epoch")?, index: fields.number("data_index")? },
            ema,
            kernels,
            extra: extra.collect(),
            weights: tensors.under("weights.")?,
            ema_weights: tensors.under("ema.")?,
            adam_m: tensors.under("adam_m.")?,
            adam_v: tensors.under("adam_v.")?,
        })
    }

    /// Reads all elements and compares their checksums. Errors: [`Error::Format`] that names the damaged tensor.
    pub fn verify(&self) -> Result<()> {
        self.groups()
            .iter()
            .flat_map(|(_, tensors)| tensors.iter())
            .try_for_each(|(_, tensor)| tensor.verify())
    }

    /// Writes the checkpoint to one file: temporary name, sync, rename, sync of the folder. A [`super::WorkFolder`] keeps the previous one too.
    ///
    /// Errors: [`Error::Io`], [`Error::StorageFull`]; a file that was there is intact then.
    #[cfg(feature = "files")]
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let staged = self.stage(&OsFiles, path)?;
        replace(&OsFiles, staged, path)
    }

    /// Writes the checkpoint beside `path` and syncs it.
    #[cfg(feature = "files")]
    pub(super) fn stage(&self, files: &dyn Files, path: &Path) -> Result<Staged> {
        let mut tensors = Tensors::new(path);
        for (prefix, group) in self.groups() {
            for (name, tensor) in group.iter() {
                tensors.insert(format!("{prefix}{name}"), tensor.clone())?;
            }
        }
        let metadata = self.metadata(&tensors)?;
        safetensors::stage(files, path, &metadata, &tensors)
    }

    fn groups(&self) -> [(&'static str, &Tensors); 4] {
        [
            ("weights.", &self.weights),
            ("ema.", &self.ema_weights),
            ("adam_m.", &self.adam_m),
            ("adam_v.", &self.adam_v),
        ]
    }

    #[cfg(feature = "files")]
    fn metadata(&self, tensors: &Tensors) -> Result<Metadata> {
        let mut metadata = Metadata::new();
        let mut put = |key: &str, value: String| metadata.push((key.into(), value));
        put("format", FORMAT.into());
        put("format_version", VERSION.to_string());
        put("written_by", concat!("langevin ", env!("CARGO_PKG_VERSION")).into());
        put("step", self.step.to_string());
        put("seed", self.seed.to_string());
        put("data_epoch", self.data.epoch.to_string());
        put("data_index", self.data.index.to_string());
        if let Some(ema) = &self.ema {
            // Rust prints the shortest text that reads back as the same f64.
            put("ema_decay", format!("{:?}", ema.decay));
            put("ema_num_updates", ema.num_updates.to_string());
        }
        put("config", self.config.clone());
        put("kernels", serde_json::json!(self.kernels).to_string());
        for (key, value) in &self.extra {
            put(&format!("{EXTRA}{key}"), value.clone());
        }
        for (name, tensor) in tensors.iter() {
            put(&format!("{TENSOR_SUM}{name}"), format!("{:016x}", tensor.checksum()?));
        }
        let descriptions = tensors.iter().map(|(name, tensor)| (name, tensor.dtype().name(), tensor.shape()));
        let sum = header_sum(&metadata, descriptions);
        metadata.push((HEADER_SUM.into(), format!("{sum:016x}")));
        Ok(metadata)
    }
}

/// XXH64 of the metadata except the sum itself, and of the tensors' names, types and shapes, in order. Their places follow from these.
fn header_sum<'a>(
    metadata: &[(String, String)],
    tensors: impl Iterator<Item = (&'a str, &'a str, &'a [usize])>,
) -> u64 {
    let mut hash = Xxh64::new(0);
    for (key, value) in metadata.iter().filter(|(key, _)| key != HEADER_SUM) {
        hash.update(format!("{key:?}={value:?}\n").as_bytes());
    }
    for (name, dtype, shape) in tensors {
        hash.update(format!("{name:?} {dtype} {shape:?}\n").as_bytes());
    }
    hash.digest()
}

/// The file again with checksums that are right, so that fuzzing reaches what lies behind them; none where its header is damaged.
#[cfg(fuzzing)]
pub fn sealed(source: &Arc<Source>) -> Option<Vec<u8>> {
    let header = Header::read(source).ok()?;
    let tensors = header.tensors(source, |_| None).ok()?;
    let sums = tensors.iter().map(|(name, tensor)| (format!("{TENSOR_SUM}{name}"), tensor.checksum()));
    let is_sum = |key: &str| key == HEADER_SUM || key.starts_with(TENSOR_SUM);
    let mut metadata: Metadata = header.metadata.into_iter().filter(|(key, _)| !is_sum(key)).collect();
    for (key, sum) in sums {
        metadata.push((key, format!("{:016x}", sum.ok()?)));
    }
    let descriptions = tensors.iter().map(|(name, tensor)| (name, tensor.dtype().name(), tensor.shape()));
    let sum = header_sum(&metadata, descriptions);
    metadata.push((HEADER_SUM.into(), format!("{sum:016x}")));
    safetensors::to_bytes(&metadata, &tensors).ok()
}

fn fields(metadata: &[(String, String)]) -> HashMap<&str, &str> {
    metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

/// Metadata by key, with errors that name the file.
struct Fields<'a> {
    source: &'a Source,
    map: HashMap<&'a str, &'a str>,
}

impl Fields<'_> {
    fn text(&self, key: &str) -> Result<&str> {
        self.map.get(key).copied().ok_or_else(|| self.source.bad(format!("its metadata lack {key:?}")))
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Result<T> {
        let text = self.text(key)?;
        text.parse().map_err(|_| self.bad_value(key, text))
    }

    fn hex(&self, key: &str) -> Result<u64> {
        let text = self.text(key)?;
        u64::from_str_radix(text, 16).map_err(|_| self.bad_value(key, text))
    }

    fn bad_value(&self, key: &str, text: &str) -> Error {
        let short: String = text.chars().take(80).collect();
        self.source.bad(format!("its metadata hold {key:?} = {short:?}, which is no number"))
    }
}
