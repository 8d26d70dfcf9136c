//! What several ops have in common: launches, tiles of matrix products, the kernels of norms.

pub(super) mod flat;
pub(super) mod norm;
pub(super) mod tile;
