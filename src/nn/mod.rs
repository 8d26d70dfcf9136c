//! Layers and blocks, in terms of ops.
//!
//! A layer declares its parameters where it is constructed, in the order of the authors' constructors, under a
//! [`Scope`] that gives them names. What has been declared is the network's [`Manifest`]: names, shapes, initial
//! values. Tracing the layer asks the graph for the same parameters by the same names.

pub mod attention;
pub mod init;
pub mod layers;
pub mod manifest;
pub mod norm;
pub mod refine;
pub mod resample;
pub mod residual;
pub mod time;
pub mod trace;
pub mod wide;

pub use init::Init;
pub use manifest::{Manifest, Param, ParamSpec, Scope};
pub use trace::Trace;
