//! VE, VP and sub-VP: plain f64 mathematics, no tensors, no GPU.
