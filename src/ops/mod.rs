//! One file per op: shape rule, backward, kernel candidates.
