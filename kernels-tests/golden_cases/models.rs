//! Whole shrunk networks: output, gradient by the image and by every parameter.

use crate::case::Case;
use crate::check::{self, Report};
use crate::context::Context;
use crate::network::Loaded;

/// Runs a case of `models/`: `config` is a whole configuration.
pub fn run(case: &Case, context: &Context) -> Result<Report, String> {
    let loaded = Loaded::of_case(case, context, "param.")?;
    let input = |name: &str| case.tensor(&format!("in.{name}"));
    let outputs = loaded.run(&input("x")?, &input("time_cond")?, Some(&input("dy")?), true)?;
    check::check(case, &outputs)
}
