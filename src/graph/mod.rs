//! Shapes, values and ops in order of execution; gradients; liveness; plans.
//!
//! Tracing appends ops to a [`Graph`]. [`Graph::backward`] appends the ops of the gradients. A [`Draft`] picks a kernel for every op
//! and says the memory without allocating any; a [`Tuner`] may time what it lists; [`Draft::build`] makes the [`Plan`] that is replayed.
//!
//! No file here names another that names it in turn: each stands on those above it in this list.

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
pub use trace::{Graph, Node, Op, Value};
pub use tuner::{Drafts, Tuner};
