//! Every op, forward and backward, against its f64 reference; and the rules of the source.

mod engine;
#[allow(dead_code, reason = "the tests use a part of it")]
#[path = "../tools/gen/environment.rs"]
mod environment;
mod harness;
mod identity;
mod ops;
mod reference;
mod rules;
mod samplers;
