//! Losses, the optimizer, EMA and the loop.

pub mod loss;
