//! What several ops have in common: launches, tiles of matrix products, the kernels of norms, guards of gradients.

pub(super) mod flat;
pub(super) mod gradient;
pub(super) mod norm;
pub(super) mod tile;
