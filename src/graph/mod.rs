//! Shapes, values, ops in order of execution, gradients, liveness and plans.
