//! Losses, the optimizer, EMA and the loop.
