//! Single operations.

use crate::case::Case;
use crate::check::Report;
use crate::context::Context;

/// Runs a case of `ops/`: `config.op` names the operation.
pub fn run(case: &Case, _context: &Context) -> Result<Report, String> {
    let config = case.config()?;
    let op = config.str("op")?;
    Err(format!("unknown op {op:?}"))
}
