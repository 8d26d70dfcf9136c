//! The only module that names `wgpu`: device choice, buffers, shader assembly, pipelines, submission, timing.
//!
//! The rest of the library sees [`Gpu`], [`Buffer`], [`Kernel`] and [`Dispatch`] and no type of the GPU interface.
//!
//! ```
//! use langevin::gpu::{Gpu, Options, survey};
//!
//! for adapter in survey(&Options::default())?.adapters {
//!     println!("{}: {} ({}), {}", adapter.index, adapter.name, adapter.backend, adapter.driver);
//! }
//! let gpu = Gpu::open(&Options { baseline: true, ..Options::default() })?;
//! assert!(gpu.capabilities().max_binding >= 128 << 20);
//! # Ok::<(), langevin::Error>(())
//! ```

mod adapter;
mod backend;
mod buffer;
mod cache;
mod cards;
mod device;
mod heaps;
mod pipeline;
pub mod shader;
mod submit;
mod timing;
mod wait;

pub use adapter::{AdapterReport, DeviceKind, Survey, survey, survey_async};
pub use backend::{Backend, Dx12Compiler};
pub use buffer::{Binding, Buffer};
pub(crate) use cache::TuningCache;
pub use device::{Capabilities, Counters, Gpu, Options};
pub use pipeline::{Access, Kernel, Pipeline};
pub use shader::Const;
pub use submit::Dispatch;
pub use timing::Stopwatch;
pub use wait::{Instant, Submission, blocking};
