//! Shapes, values and ops in order of execution; gradients; liveness; plans.
//!
//! Tracing appends ops to a [`Graph`]. [`Graph::backward`] appends the ops of the gradients. A [`Draft`] picks a kernel for every op
//! and says the memory without allocating any; a [`Tuner`] may time what it lists; [`Draft::build`] makes the [`Plan`] that is replayed.
//!
//! No file here names another that names it in turn: each stands on those above it in this list.
//!
//! ```
//! use langevin::gpu::Gpu;
//! use langevin::graph::{Draft, DraftOptions, Graph, Resources};
//! use langevin::ops::elementwise::mul;
//!
//! let gpu = Gpu::open_default()?;
//! let mut graph = Graph::new();
//! let (x, seed) = (graph.input("x", [3]), graph.input("seed", [3]));
//! let y = mul(&mut graph, x, x)?;
//! let grad_x = graph.backward(&[(y, seed)], &[x])?[0].expect("y depends on x");
//!
//! let draft = Draft::new(&graph, &[grad_x], gpu.capabilities(), DraftOptions::default())?;
//! println!("{}", draft.memory());
//! let mut plan = draft.build(&gpu, Resources::new())?;
//! plan.write(x, &[1.0, 2.0, 3.0])?;
//! plan.write(seed, &[1.0; 3])?;
//! plan.run()?;
//! assert_eq!(plan.read(grad_x)?, [2.0, 4.0, 6.0]);
//! # Ok::<(), langevin::Error>(())
//! ```

mod arithmetic;
mod class;
mod cut;
mod launch;
mod liveness;
mod memory;
mod shape;

mod candidate;
mod io;
mod key;
mod parameters;

mod choice;
mod trace;

mod backward;
mod draft;

mod drafting;

mod contest;
mod guards;
mod schedule;

mod replay;

mod plan;

mod trial;

mod tuner;

mod request;

pub use arithmetic::Arithmetic;
pub use backward::Sum;
pub use candidate::Candidate;
pub use choice::{Choice, Choices, Rival, Settled};
pub use class::Class;
pub use draft::{Chosen, Draft, DraftOptions, DraftedOp};
pub use io::Io;
pub use key::OpKey;
pub use launch::{Launch, Operand};
pub use memory::Memory;
pub use parameters::{ParameterLayout, ParameterSet, Slot};
pub use plan::{Plan, Resources};
pub use request::{KernelRequest, Kernels};
pub use shape::{DType, Shape, Tensor};
pub use trace::{Gradients, Graph, Node, Op, Value};
pub use tuner::{Drafts, Tuner};
