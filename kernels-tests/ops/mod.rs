//! One table of cases per op, run in every mode.

mod column_sum;
mod conv2d;
mod elementwise;
mod resample;
mod upfirdn2d;
