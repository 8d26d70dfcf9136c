//! Bits per dimension by the probability-flow ODE.
