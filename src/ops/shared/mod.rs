//! Launches of the kernels under `shaders/shared/` that several ops use.

pub(super) mod norm;
