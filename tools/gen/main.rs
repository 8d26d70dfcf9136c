//! `gen`: the command-line tool.
fn main() {}
