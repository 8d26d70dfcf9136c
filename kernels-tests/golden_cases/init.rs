//! Initial weights: mean, root mean square and largest value of each parameter over many initialisations.

use langevin::models::{self, Config, names};
use langevin::nn::Init;
use serde_json::Value;

use crate::case::Case;
use crate::check::Report;
use crate::context::Context;

/// Initialisations that are drawn here.
const DRAWS: u64 = 64;
/// Standard errors within which means and variances must lie.
const ERRORS: f64 = 6.0;

/// Runs a case of `init/`: `config` is a whole configuration, `init` the table of figures.
pub fn run(case: &Case, _context: &Context) -> Result<Report, String> {
    let config = Config::from_json(case.key("config")?).map_err(|e| e.to_string())?;
    let network = models::build(&config).map_err(|e| e.to_string())?;
    let manifest = network.manifest();
    let names = names::torch_names(manifest).map_err(|e| e.to_string())?;
    let table = case.key("init")?.as_object().ok_or("`init` is not an object")?;
    let mut report = Report::new();
    for name in table.keys() {
        report.require(names.contains(name), || format!("{name} is not a parameter here"));
    }
    for (index, (name, param)) in names.iter().zip(manifest.params()).enumerate() {
        let Some(row) = table.get(name) else {
            report.fail(format!("{name} is no parameter of the case"));
            continue;
        };
        report.require(row["shape"] == serde_json::json!(param.shape), || {
            format!("{name}: got shape {:?}, expected {}", param.shape, row["shape"])
        });
        let drawn = (0..DRAWS).flat_map(|seed| param.init.draw(&param.shape, seed, index as u32));
        compare(&mut report, name, row, &drawn.map(f64::from).collect::<Vec<_>>(), param.init)?;
    }
    Ok(report)
}

fn compare(report: &mut Report, name: &str, row: &Value, drawn: &[f64], init: Init) -> Result<(), String> {
    let figure = |key: &str| row[key].as_f64().ok_or_else(|| format!("init.{name} has no number {key}"));
    let (mean, rms, largest, samples) = (figure("mean")?, figure("rms")?, figure("max")?, figure("samples")?);
    let n = drawn.len() as f64;
    let got_mean = drawn.iter().sum::<f64>() / n;
    let got_rms = (drawn.iter().map(|v| v * v).sum::<f64>() / n).sqrt();
    if rms == 0.0 {
        report.require(got_rms == 0.0, || format!("{name}: must be exactly zero, rms is {got_rms:e}"));
        return Ok(());
    }
    let error = ERRORS * (1.0 / samples + 1.0 / n).sqrt();
    report.require((mean - got_mean).abs() <= rms * error, || {
        format!("{name}: mean {got_mean:e}, expected {mean:e} within {:e}", rms * error)
    });
    let factor = (got_rms / rms).max(rms / got_rms);
    report.require(factor <= 1.0 + error, || {
        format!("{name}: rms {got_rms:e}, expected {rms:e}, factor {factor}")
    });
    if let Init::Uniform { .. } = init {
        let got = drawn.iter().fold(0f64, |most, v| most.max(v.abs()));
        // The largest of many draws lies below the bound by about bound / samples; three digits are given.
        let slack = 1.0 + 0.005 + 12.0 / samples.min(n);
        report.require(got <= largest * slack && largest <= got * slack, || {
            format!("{name}: largest {got:e}, expected {largest:e}")
        });
    }
    Ok(())
}
