//! Every op, forward and backward, against its f64 reference; and the rules of the source.

mod engine;
mod harness;
mod identity;
mod ops;
mod reference;
mod rules;
mod samplers;
