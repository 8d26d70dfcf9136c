//! Every op, forward and backward, against its f64 reference; and the rules of the house.

mod engine;
mod harness;
mod house;
mod ops;
mod reference;
mod samplers;
