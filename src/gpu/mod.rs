//! The only module that names `wgpu`: device choice, buffers, shader assembly, pipelines, submission, timing.
//!
//! The rest of the library sees [`Gpu`], [`Buffer`], [`Kernel`] and [`Dispatch`] and no type of the GPU interface.

mod adapter;
mod buffer;
mod cache;
mod cards;
mod device;
mod direct3d;
mod heaps;
mod pipeline;
pub mod shader;
mod submit;
mod timing;
mod wait;

pub use adapter::{AdapterReport, DeviceKind, Survey, silence_device_select, survey, survey_async};
pub use buffer::{Binding, Buffer};
pub(crate) use cache::TuningCache;
pub use device::{Capabilities, Counters, Gpu, Options};
pub use pipeline::{Access, Kernel, Pipeline};
pub use shader::Const;
pub use submit::Dispatch;
pub use timing::Stopwatch;
pub use wait::{Instant, Submission, blocking};
