//! One table of cases per op, run in every mode.

mod elementwise;
mod resample;
mod upfirdn2d;
