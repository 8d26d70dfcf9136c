//! Images, grids, animations, arrays, metrics and event files.
//!
//! ```
//! use langevin::output::{Provenance, grid, to_bytes, write_png};
//!
//! # fn main() -> langevin::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("samples.png");
//! let x = vec![0.5f32; 16 * 3 * 32 * 32];
//! let images = to_bytes(&x, [16, 3, 32, 32])?;
//! let provenance = Provenance::new().with("seeds", "0-15");
//! write_png(&path, &grid(&images, None)?, &provenance)?;
//! assert_eq!(Provenance::read(&path)?.and_then(|p| p.get("seeds").map(str::to_owned)).as_deref(), Some("0-15"));
//! # Ok(())
//! # }
//! ```
//!
//! A file appears under its name only when it is whole.

#[cfg(feature = "files")]
mod animation;
#[cfg(feature = "files")]
mod arrays;
#[cfg(feature = "files")]
mod file;
mod grid;
#[cfg(feature = "files")]
mod metrics;
mod picture;
mod pixels;
mod provenance;
#[cfg(feature = "files")]
mod tensorboard;

#[cfg(feature = "files")]
pub use animation::write_animation;
#[cfg(feature = "files")]
pub use arrays::{write_npz, write_safetensors};
#[cfg(feature = "files")]
pub use file::write_whole;
pub use grid::grid;
#[cfg(feature = "files")]
pub use metrics::MetricsWriter;
pub use picture::encode_png;
#[cfg(feature = "files")]
pub use picture::write_png;
pub use pixels::{ImageBytes, to_bytes};
pub use provenance::Provenance;
#[cfg(feature = "files")]
pub use tensorboard::EventWriter;
