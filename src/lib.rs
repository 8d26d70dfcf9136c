//! Langevin trains score-based generative models (Song et al. 2021, "Score-Based Generative Modeling through
//! Stochastic Differential Equations") and samples from them on any GPU that speaks Vulkan, Metal or DX12.
//!
//! ```
//! use langevin::gpu::Gpu;
//! use langevin::pipeline::Pretrained;
//! use langevin::sampling::solvers::DpmSolverPp;
//!
//! # fn main() -> langevin::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("samples.png");
//! let gpu = Gpu::open_default()?;
//! let model = Pretrained::embedded().load(&gpu)?; // or Pretrained::open("checkpoint_24.pth")?.preset("ve/cifar10_ncsnpp_continuous")
//! let images = model.sampler(DpmSolverPp::steps(20)).seeds(0..4).draw()?;
//! images.grid()?.save(&path)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Three layers
//!
//! | for | modules |
//! |---|---|
//! | using models: drawing, measuring, restoring, training | [`pipeline`], with [`gpu::Gpu`], the solvers of [`sampling::solvers`], the SDEs of [`sde`] |
//! | adding to them: a network, a layer, an op, a solver, an SDE, a weight format | [`models`], [`nn`], [`ops`], [`graph`], [`score`], [`checkpoint`], [`training`], [`data`], [`output`], [`inverse`], [`likelihood`] |
//! | internals, which may change in any version | [`mod@bench`], [`formats`], [`files`], [`limits`], [`random`] |
//!
//! `docs/adding.md` of the repository says which files each addition takes; `examples/` has one of most.
//!
//! # One idea: trace once, plan once, replay many
//!
//! A score model is evaluated thousands of times on tensors of one shape, so nothing is decided while it runs.
//!
//! ```text
//! model + sampler (or loss + optimizer)
//!     │  trace: ordinary Rust functions append ops to a Graph
//!     ▼
//! Graph        values, shapes, ops; `backward` appends the gradient ops to the same graph
//!     │  plan: a kernel for every op on this device, buffers reused by liveness, pipelines and bind groups built
//!     ▼
//! Plan         two flat lists of dispatches: `prepare` (after parameters change) and `step`
//!     │  replay: encode, submit; only the contents of input buffers change
//!     ▼
//! results
//! ```
//!
//! # The modules
//!
//! Each module sees only modules to its left:
//! `error → gpu → graph → ops → nn → models`; `random`, `limits` and `files` are seen by all; `sde → error`; `score → models, sde`;
//! `sampling, inverse, likelihood → score`; `formats → error`; `data, output → formats`; `models → sde`; `checkpoint → models`;
//! `training → score, data, checkpoint, output`; `bench → training`; `pipeline → all of these`; the tool `gen` sees all.
//!
//! # Waiting
//!
//! A function that waits for the device has two forms: `open_async` is awaited, [`gpu::Gpu::open`] blocks the thread. In a browser only the
//! first can be used. There the library is compiled without its default features `threads` and `files`.
//!
//! # Invariants
//!
//! A test reads the source and checks these.
//!
//! * Only [`gpu`] names `wgpu` and holds `unsafe`, each use with a SAFETY line.
//! * Only `files`, `data`, `checkpoint`, `output`, the tuning cache of `gpu` and `tools/` touch files.
//! * Only `gpu/wait` blocks, polls or catches a panic.
//! * The environment is not read: what a program wants it says in [`gpu::Options`], `data::DataConfig` and their like.
//! * There is no global device, no enum of ops and no central match over ops.
//! * No WGSL stands inside a Rust string: kernels are files under `shaders/`.

pub mod bench;
pub mod checkpoint;
#[cfg(feature = "files")]
pub mod data;
pub mod error;
#[cfg(feature = "files")]
pub mod files;
pub mod formats;
pub mod gpu;
pub mod graph;
pub mod inverse;
pub mod likelihood;
pub mod limits;
pub mod models;
pub mod nn;
pub mod ops;
pub mod output;
pub mod pipeline;
pub mod random;
pub mod sampling;
pub mod score;
pub mod sde;
pub mod training;

pub use error::{Error, Result};
