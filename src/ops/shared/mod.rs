//! Launches of the kernels under `shaders/shared/` that several ops use, and what tells them their tiles.

pub(super) mod norm;
pub(super) mod tile;
