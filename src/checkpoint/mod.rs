//! Weights in and out: the authors' `.pth`, safetensors, diffusers folders, our own checkpoints.
//!
//! A file is data from a stranger. Whatever it holds, reading it ends in an error that names the file and the reason or in the
//! tensors; it runs nothing, does not panic, and holds no more memory than the file's size justifies. Tensors are lazy: opening reads names, shapes
//! and places, and elements are read, and their checksums verified, when they are asked for.
//!
//! ```
//! use langevin::checkpoint::{SavedModel, Source, read};
//!
//! let saved = SavedModel::embedded(&Ok)?;
//! assert!(saved.tensors(Default::default()).iter().all(|(_, tensor)| !tensor.is_empty()));
//! // A file is recognised by what it begins with, and refused with the reason.
//! let error = read(&Source::memory("notes.txt", "no weights")).unwrap_err();
//! assert!(error.to_string().starts_with("notes.txt"), "{error}");
//! # Ok::<(), langevin::Error>(())
//! ```

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
pub mod formats;
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

#[cfg(fuzzing)]
pub use container::sealed;
pub use container::{Checkpoint, DataPosition, EmaState, Loaded};
pub use dtype::DType;
#[cfg(feature = "files")]
pub use files::{Files, OsFiles, SyncWrite};
#[cfg(feature = "files")]
pub use folder::{WorkFolder, load};
#[cfg(feature = "files")]
pub use formats::open;
pub use formats::{Contents, read};
pub use model::{CLASSES, Change, RECIPE, SavedModel, Which};
pub use source::Source;
pub use tensors::{Tensor, Tensors};
pub use xxh64::Xxh64;
