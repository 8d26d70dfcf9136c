//! Layers and blocks, in terms of ops.
//!
//! A layer declares its parameters where it is constructed, in the order of the authors' constructors, under a
//! [`Scope`] that gives them names. What has been declared is the network's [`Manifest`]: names, shapes, initial
//! values. Tracing the layer asks the graph for the same parameters by the same names.
//!
//! ```
//! use langevin::graph::Graph;
//! use langevin::nn::layers::Linear;
//! use langevin::nn::trace::WEIGHTS;
//! use langevin::nn::{Manifest, Trace};
//!
//! let mut manifest = Manifest::default();
//! let layer = Linear::new(&mut manifest.root().at("head"), 8, 3);
//! assert_eq!(manifest.params()[0].name, "head.weight");
//!
//! let mut graph = Graph::new();
//! let x = graph.input("x", [2, 8]);
//! let y = layer.forward(&mut Trace::new(&mut graph, WEIGHTS), x)?;
//! assert_eq!(graph.shape(y).dims(), [2, 3]);
//! # Ok::<(), langevin::Error>(())
//! ```

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
