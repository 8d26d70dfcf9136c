//! Full-size networks without weights: names, shapes and order of the parameters, their counts, and the work of one forward.

use langevin::graph::Graph;
use langevin::models::{self, Config, Network, names, presets};
use langevin::nn::Trace;
use langevin::nn::trace::WEIGHTS;
use serde_json::{Value, json};

use crate::case::Case;
use crate::check::Report;
use crate::context::Context;

/// Share by which the work may differ: biases and softmax are counted here and not there.
const WORK_TOLERANCE: f64 = 0.01;

/// Runs a case of `full/`: `config` is a whole configuration.
pub fn run(case: &Case, _context: &Context) -> Result<Report, String> {
    let config = Config::from_json(case.key("config")?).map_err(|e| e.to_string())?;
    let network = models::build(&config).map_err(|e| e.to_string())?;
    let manifest = network.manifest();
    let mut report = Report::new();
    let name = case.key("config_name")?.as_str().unwrap_or_default();
    if presets::names().any(|known| known == name) {
        let preset = presets::get(name).map_err(|e| e.to_string())?;
        report
            .require(preset == config, || format!("the preset {name} differs from the case's configuration"));
    }

    let names = names::torch_names(manifest).map_err(|e| e.to_string())?;
    let expected = case.key("params")?.as_array().ok_or("`params` is not a list")?;
    for (i, row) in expected.iter().enumerate() {
        let got = manifest.params().get(i).map(|p| match p.trainable {
            true => json!([names[i], p.shape]),
            false => json!([names[i], p.shape, "no_grad"]),
        });
        report.require(got.as_ref() == Some(row), || format!("parameter {i}: got {got:?}, expected {row}"));
    }
    let counts = [
        ("num_param_tensors", manifest.params().len()),
        ("num_params", manifest.elements()),
        ("num_params_trainable", manifest.trainable().map(|p| p.elements()).sum()),
    ];
    for (key, got) in counts {
        let expected = case.key(key)?.as_u64();
        report.require(expected == Some(got as u64), || format!("{key}: got {got}, expected {expected:?}"));
    }
    let expected = case.key("macs_batch1")?.get("total_without_fir_filter").and_then(Value::as_f64);
    let expected = expected.ok_or("macs_batch1 has no number total_without_fir_filter")?;
    let got = macs(&config, network.as_ref()).map_err(|e| e.to_string())?;
    report.require((got - expected).abs() <= WORK_TOLERANCE * expected, || {
        format!("multiply-accumulates: got {got:.4e}, expected {expected:.4e}")
    });
    Ok(report)
}

/// Multiply-accumulates of convolutions, dense layers and attention in one forward of one image.
fn macs(config: &Config, network: &dyn Network) -> langevin::Result<f64> {
    let (size, channels) = (config.data.image_size, config.data.num_channels);
    let mut graph = Graph::new();
    let x = graph.input("x", [1, size, size, channels]);
    let time = graph.input("time", [1]);
    network.forward(&mut Trace::new(&mut graph, WEIGHTS), x, time)?;
    let flops = graph.flops_by_op();
    Ok(["conv2d", "attention"].iter().filter_map(|op| flops.get(op)).sum::<f64>() / 2.0)
}
