//! Weights in and out: the authors' `.pth`, safetensors, diffusers folders, our own checkpoints.
//!
//! A file is data from a stranger. Whatever it holds, reading it ends in an error that names the file and the reason or in the
//! tensors; it runs nothing, does not panic, and holds no more memory than the file's size justifies. Tensors are lazy: opening reads names, shapes
//! and places, and elements are read, and their checksums verified, when they are asked for.

#[cfg(feature = "files")]
mod adopt;
mod container;
pub mod diffusers;
mod dtype;
#[cfg(feature = "files")]
mod export;
#[cfg(feature = "files")]
mod files;
#[cfg(feature = "files")]
mod folder;
mod model;
mod pickle;
mod places;
mod resolve;
pub mod safetensors;
mod source;
mod tensors;
pub mod torch;
pub mod unet2d;
mod xxh64;
mod zip;

#[cfg(feature = "files")]
use std::path::Path;
use std::sync::Arc;

#[cfg(fuzzing)]
pub use container::sealed;
pub use container::{Checkpoint, DataPosition, EmaState, Loaded};
pub use dtype::DType;
#[cfg(feature = "files")]
pub use files::{Files, OsFiles, SyncWrite};
#[cfg(feature = "files")]
pub use folder::{WorkFolder, load};
pub use model::{CLASSES, Change, RECIPE, SavedModel, Which};
pub use source::Source;
pub use tensors::{Tensor, Tensors};
pub use xxh64::Xxh64;

#[cfg(feature = "files")]
use crate::Error;
use crate::Result;

/// Whatever holds weights.
#[derive(Debug)]
pub enum Weights {
    /// A file of `torch.save`.
    Torch(Box<torch::TorchCheckpoint>),
    /// A safetensors file of someone else.
    Safetensors(safetensors::Safetensors),
    /// A checkpoint of ours, from its file or from a work folder.
    Checkpoint(Box<Loaded>),
    /// A diffusers folder.
    #[cfg(feature = "files")]
    Diffusers(Box<diffusers::DiffusersFolder>),
}

/// Opens a file or folder that holds weights, whichever of the known formats it has; the name does not matter.
///
/// Errors: [`Error::Io`]; [`Error::Format`] with the reason, also where it is none of the formats.
#[cfg(feature = "files")]
pub fn open(path: impl AsRef<Path>) -> Result<Weights> {
    let path = path.as_ref();
    if path.is_dir() {
        if let Some(loaded) = load(path)? {
            return Ok(Weights::Checkpoint(Box::new(loaded)));
        }
        if diffusers::is_diffusers(path) {
            return Ok(Weights::Diffusers(Box::new(diffusers::open(path)?)));
        }
        return Err(Error::format(
            path,
            "the folder holds neither a checkpoint of a training run nor config.json or unet/config.json of diffusers",
        ));
    }
    read(&Source::open(path)?)
}

/// [`open`] for files, from any source.
pub fn read(source: &Arc<Source>) -> Result<Weights> {
    let mut head = [0; 9];
    let n = source.len().min(head.len() as u64) as usize;
    source.read_at(0, &mut head[..n])?;
    let head = &head[..n];
    // A zip archive's and a pickle's first bytes can also be a header's length; the brace decides.
    if safetensors::is_safetensors(head) {
        let file = safetensors::read(source)?;
        if container::is_ours(&file.metadata) {
            let checkpoint = Checkpoint::read(source)?;
            checkpoint.verify()?;
            return Ok(Weights::Checkpoint(Box::new(Loaded {
                checkpoint,
                path: source.path().into(),
                note: None,
            })));
        }
        return Ok(Weights::Safetensors(file));
    }
    if torch::is_torch(head) {
        return Ok(Weights::Torch(Box::new(torch::read(source)?)));
    }
    Err(source.bad("it is neither a file of torch.save nor safetensors; weights are read from these and from diffusers folders"))
}
