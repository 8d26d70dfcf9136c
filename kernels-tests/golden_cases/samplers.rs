//! Predictor-corrector runs, inpainting, colourisation, and the ODE.

use crate::case::Case;
use crate::check::Report;
use crate::context::Context;
use crate::rk45;

/// Runs a case of `samplers/`: `config.kind` names the sampler; the ODE solver alone has no `config`.
pub fn run(case: &Case, _context: &Context) -> Result<Report, String> {
    if case.optional_key("runs").is_some() {
        return rk45::run(case);
    }
    let kind = case.config()?.str("kind")?;
    Err(format!("unknown kind {kind:?}"))
}
