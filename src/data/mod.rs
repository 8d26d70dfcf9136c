//! Data sets and loaders.
//!
//! A source is a folder of pictures (PNG, JPEG, WebP, BMP, GIF, TIFF), a tar (plain, `.gz`, `.xz`) or zip of them, CIFAR-10's binary files (in
//! a folder or an archive), TFRecords (FFHQ, CelebA-HQ), or LSUN's LMDB. Folders named `train` and
//! `test` are splits, the folders below them classes. [`Dataset::open`] decodes and preprocesses a source once, on all
//! cores, into a packed file in the cache folder, or to memory where none is named; a picture that cannot be read is skipped and reported.
//! [`Loader`] then hands out batches in an order that depends on seed and epoch alone, so that a run resumes exactly.
//!
//! ```
//! use langevin::data::{DataConfig, Dataset, Loader, LoaderConfig, LoaderState, Preprocess, Split};
//! use langevin::pipeline::Images;
//!
//! # fn main() -> langevin::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let folder = folder.path();
//! # Images::from_nhwc([4, 20, 30, 3], vec![0.5; 4 * 20 * 30 * 3])?.save(folder.join("photos"))?;
//! let mut config = DataConfig::new(folder.join("photos"), Preprocess::new(16, 3)?);
//! config.cache_folder = Some(folder.join("packed"));
//! let data = Dataset::open(&config, &mut |done| {
//!     eprint!("\r{done} pictures");
//!     true
//! })?;
//! let train = data.subset(Split::Train)?;
//! let mut loader = Loader::new(train, LoaderConfig::training(2, 42), LoaderState::default())?;
//! let batch = loader.next_batch()?.expect("training data has no end");
//! assert_eq!(batch.shape, [2, 16, 16, 3]);
//! # Ok(())
//! # }
//! ```

mod cache;
mod check;
mod cifar;
mod container;
mod dataset;
mod decode;
#[cfg(fuzzing)]
pub mod fuzzing;
mod ingest;
mod item;
mod jpeg;
mod layout;
mod left_out;
mod lmdb;
mod loader;
mod mask;
mod preprocess;
mod read;
mod tfrecord;
pub mod transform;

pub use check::{CheckConfig, CheckReport, ClassCount, SigmaMax, SizeCount, check};
pub use cifar::CLASSES as CIFAR10_CLASSES;
pub use dataset::{CACHE_FOLDER, DataConfig, Dataset, Subset};
pub use decode::{Limits, Picture, decode, dimensions, is_image_name};
pub use ingest::BadImage;
pub use layout::Split;
pub use loader::{Batch, LastBatch, Loader, LoaderConfig, LoaderState, Pixels, Values};
pub use mask::{Mask, read_mask};
pub use preprocess::{Fit, Preprocess};
pub use read::{Images, ReadConfig, read_images, read_tensor};
