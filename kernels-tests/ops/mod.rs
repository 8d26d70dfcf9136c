//! One table of cases per op, run in every mode.

mod elementwise;
