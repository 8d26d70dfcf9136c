//! Every op, forward and backward, against its f64 reference.

mod reference;
