//! Shapes, values and ops in order of execution; gradients; liveness; plans.
//!
//! Tracing appends ops to a [`Graph`]. [`Graph::backward`] appends the ops of the gradients. A [`Draft`] picks a kernel for every op
//! and says the memory without allocating any; [`Draft::build`] makes the [`Plan`] that is replayed.

mod arithmetic;
mod backward;
mod choice;
mod draft;
mod guards;
mod liveness;
mod memory;
mod op;
mod parameters;
mod plan;
mod schedule;
mod shape;
mod timing;
mod trace;
mod trial;
mod tuner;

pub use arithmetic::Arithmetic;
pub use backward::Sum;
pub use choice::{Choice, Pick, Rival};
pub use draft::{Chosen, Draft, DraftOptions};
pub use memory::Memory;
pub use op::{Candidate, Io, Launch, Node, Op, Operand, Tensor};
pub use parameters::{ParameterLayout, ParameterSet, Slot};
pub use plan::{Plan, Resources};
pub use shape::{DType, Shape};
pub use trace::{Graph, Value};
pub use tuner::Tuner;
