//! Predictors, correctors, the predictor-corrector loop, the probability-flow ODE, few-step solvers.
