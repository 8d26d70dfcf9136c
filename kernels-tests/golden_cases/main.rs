//! The authors' numbers, case by case.
fn main() {}
