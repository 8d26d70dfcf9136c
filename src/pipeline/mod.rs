//! Models, samplers, likelihood, inverse problems and training as builders with the defaults of the tool `gen`, which is made of them.
//!
//! ```
//! use langevin::gpu::Gpu;
//! use langevin::pipeline::Pretrained;
//! use langevin::sampling::solvers::DpmSolverPp;
//!
//! # fn main() -> langevin::Result<()> {
//! let gpu = Gpu::open_default()?;
//! let model = Pretrained::embedded().load(&gpu)?;
//! let images = model.sampler(DpmSolverPp::steps(3)).seeds(0..4).draw()?;
//! assert_eq!(images.shape(), [4, 32, 32, 1]);
//! let png = images.grid()?.png()?;
//! # assert!(png.starts_with(b"\x89PNG"));
//! # Ok(())
//! # }
//! ```
//!
//! | what | by |
//! |---|---|
//! | weights of any file, or of a network of your own | [`Pretrained`] |
//! | images from noise | [`Model::sampler`] |
//! | bits per dimension | [`Model::likelihood`] |
//! | images to latents and back, and what lies between two | [`Model::flow`] |
//! | a part of an image, or its colours, drawn anew | [`Model::inpaint`], [`Model::colorize`] |
//! | one class, by a classifier | [`Guide`] |
//! | a model from pictures | [`Training`] |
//! | its loss on other pictures | [`Model::evaluation`] |
//!
//! Images carry their range and layout in their type, [`Images`]. Work that takes long tells how far it is ([`Progress`]) and can be
//! ended from elsewhere ([`Stop`]).

#[cfg(feature = "files")]
mod evaluation;
mod flow;
mod guide;
mod images;
mod inverse;
mod likelihood;
mod model;
mod pretrained;
mod progress;
#[cfg(feature = "files")]
mod read;
mod sampling;
#[cfg(feature = "files")]
mod training;

#[cfg(feature = "files")]
pub use evaluation::{Evaluated, Evaluating};
pub use flow::{Ends, Flow, Latents};
pub use guide::Guide;
pub use images::{Grid, Images};
pub use inverse::{Mask, Restoration};
pub use likelihood::{BitsPerDim, Likelihood};
pub use model::Model;
pub use pretrained::Pretrained;
pub use progress::{Progress, Stop};
#[cfg(feature = "files")]
pub use read::ReadImages;
pub use sampling::{Drawn, PreparedSampling, Sampling, SamplingPlan, Trajectory};
#[cfg(feature = "files")]
pub use training::Training;
