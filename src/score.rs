//! `ScoreFn`: a model and an SDE make a score; what samplers and losses take.
