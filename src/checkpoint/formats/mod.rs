//! The formats of weights: a file each, which recognises a file or folder and says what it holds. [`FORMATS`] lists them; a new one is
//! named there and by a `mod` line, and nowhere else.

#[cfg(feature = "files")]
mod diffusers;
mod npz;
mod safetensors;
mod torch;

use std::fmt::Debug;
#[cfg(feature = "files")]
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::diffusers::{SchedulerConfig, UNetConfig};
use super::torch::Ema;
use super::{Source, Tensors};
#[cfg(feature = "files")]
use crate::error::Error;
use crate::error::Result;

/// A format of weights.
pub trait Format: Debug + Sync {
    /// What people call it.
    fn name(&self) -> &'static str;

    /// Whether a file that begins with these bytes, at most [`HEAD`], is of this format; its name does not matter.
    fn recognises(&self, head: &[u8]) -> bool;

    /// What a file holds. Elements of tensors stay there until they are asked for.
    ///
    /// # Errors
    /// [`Error::Format`] with the reason; [`Error::Io`].
    fn read(&self, source: &Arc<Source>) -> Result<Contents>;

    /// What a folder holds, where it is of this format.
    ///
    /// # Errors
    /// As [`Format::read`].
    #[cfg(feature = "files")]
    fn open_folder(&self, path: &Path) -> Result<Option<Contents>> {
        let _ = path;
        Ok(None)
    }
}

/// Every format, in the order in which a file is tried.
pub const FORMATS: &[&dyn Format] = &[
    &safetensors::Format,
    &npz::Format,
    &torch::Format,
    #[cfg(feature = "files")]
    &diffusers::Format,
];

/// Bytes by which a file is recognised.
pub const HEAD: usize = 64;

/// What a file or folder holds, whatever its format.
#[derive(Debug)]
pub struct Contents {
    /// What people call the format.
    pub format: &'static str,
    /// The tensors under the file's own names.
    pub tensors: Tensors,
    /// Their names are those of this library's networks, without anything in front.
    pub names_are_ours: bool,
    /// A moving average that the file keeps apart from the tensors; why it cannot be used where it cannot.
    pub average: Option<Result<Average>>,
    /// The configuration, TOML or JSON.
    pub config: Option<String>,
    /// A network that the file describes in another way than by a configuration.
    pub described: Option<Described>,
    /// Training steps done.
    pub step: Option<u64>,
    /// What the user should know of how it was read.
    pub note: Option<String>,
    /// The names of the classes in the order of their numbers.
    pub classes: Vec<String>,
    /// How pictures became what the model learned from, as `data` writes it.
    pub recipe: Option<String>,
    /// What is known of the average, for people.
    pub average_facts: Value,
    /// What else is known, for people.
    pub facts: Map<String, Value>,
}

/// A moving average.
#[derive(Debug)]
pub enum Average {
    /// Tensors under names.
    Named {
        /// Where the file keeps them, for messages.
        place: String,
        /// The tensors.
        tensors: Tensors,
    },
    /// As `torch.save` has it: by names, or in the order of the parameters.
    Torch(Ema),
}

/// A network that a file describes in the terms of diffusers.
#[derive(Debug)]
pub struct Described {
    /// The network.
    pub unet: UNetConfig,
    /// The scheduler.
    pub scheduler: Option<SchedulerConfig>,
    /// Why its SDE is none of ours, where that was found before.
    pub no_sde: Option<String>,
    /// The tensors have the names of diffusers.
    pub has_their_names: bool,
}

impl Contents {
    /// Tensors of a format, and nothing else.
    pub fn new(format: &'static str, tensors: Tensors) -> Self {
        Self {
            format,
            tensors,
            names_are_ours: false,
            average: None,
            config: None,
            described: None,
            step: None,
            note: None,
            classes: Vec::new(),
            recipe: None,
            average_facts: Value::Null,
            facts: Map::new(),
        }
    }

    /// Whether a name is that of a parameter rather than of a table that a file keeps beside them: the authors keep their noise levels in
    /// the state dict, which no gradient ever reaches.
    pub fn is_parameter(&self, name: &str) -> bool {
        self.names_are_ours || name != "sigmas"
    }
}

/// The names of classes out of a file; none where they are no list of names.
fn class_names(text: Option<&String>) -> Vec<String> {
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// Reads a file, whichever of the formats it has.
///
/// # Errors
/// [`Error::Format`] with the reason, also where it is none of the formats; [`Error::Io`].
pub fn read(source: &Arc<Source>) -> Result<Contents> {
    let mut head = [0; HEAD];
    let n = source.len().min(HEAD as u64) as usize;
    source.read_at(0, &mut head[..n])?;
    match FORMATS.iter().find(|format| format.recognises(&head[..n])) {
        Some(format) => format.read(source),
        None => {
            let names: Vec<&str> = FORMATS.iter().map(|format| format.name()).collect();
            Err(source.bad(format!("it holds no weights in a form that is known: {}", names.join(", "))))
        }
    }
}

/// Opens a file or folder, whichever of the formats it has; the name does not matter.
///
/// # Errors
/// As [`read`].
#[cfg(feature = "files")]
pub fn open(path: impl AsRef<Path>) -> Result<Contents> {
    let path = path.as_ref();
    if !path.is_dir() {
        return read(&Source::open(path)?);
    }
    for format in FORMATS {
        if let Some(contents) = format.open_folder(path)? {
            return Ok(contents);
        }
    }
    Err(Error::format(
        path,
        "the folder holds neither a checkpoint of training nor config.json or unet/config.json of diffusers",
    ))
}
