//! Layers and blocks, in terms of ops.
