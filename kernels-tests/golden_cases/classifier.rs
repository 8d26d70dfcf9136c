//! The noise-conditional classifier: logits, their logarithmic softmax, the gradient of a label's logarithmic probability, and
//! sampling that follows it.

use langevin::models::{self, Config, names};
use serde_json::{Value, json};

use crate::case::{Case, Tensor};
use crate::check::{self, Report};
use crate::context::Context;
use crate::guided;
use crate::network::{Loaded, problem};

/// Runs a case of `classifier/`.
pub fn run(case: &Case, context: &Context) -> Result<Report, String> {
    if case.key("config")?.get("score_model").is_some() {
        return guided::run(case, context);
    }
    let side = case.key("config")?["image_size"].clone();
    let loaded = network(case, context, &side)?;
    let input = |name: &str| case.tensor(&format!("in.{name}"));
    let (x, sigma, labels) = (input("x")?, input("sigma")?, input("labels")?);
    let logits = loaded.run(&x, &sigma, None, false)?.take("out.y").ok_or("no logits")?;
    let classes = logits.shape[1];
    let log_softmax: Vec<f64> = logits.data.chunks(classes).flat_map(log_softmax).collect();
    let log_softmax = Tensor::new(logits.shape.clone(), log_softmax);
    // The gradient of log p(label): one at the label, minus the probabilities.
    let upstream = log_softmax.data.iter().enumerate().map(|(i, log)| {
        let label = labels.data[i / classes] == (i % classes) as f64;
        f64::from(u8::from(label)) - log.exp()
    });
    let upstream = Tensor::new(logits.shape.clone(), upstream.collect::<Vec<f64>>());
    let mut outputs = loaded.run(&x, &sigma, Some(&upstream), false)?;
    outputs.insert("out.logits", logits);
    outputs.insert("out.log_softmax", log_softmax);
    check::check(case, &outputs)
}

/// The classifier of the case, with its flax tensors, for images of another side than its own where that is asked for: no parameter
/// depends on it.
pub fn network(case: &Case, context: &Context, side: &Value) -> Result<Loaded, String> {
    let config = case.key("config")?;
    let tree = json!({
        "data": {"image_size": side, "num_channels": config["preprocess_mean"].as_array().map(Vec::len)},
        "model": {
            "name": "wideresnet_noise_conditional",
            "blocks_per_group": config["blocks_per_group"],
            "channel_multiplier": config["channel_multiplier"],
            "num_outputs": config["num_outputs"],
            "preprocess_mean": config["preprocess_mean"],
            "preprocess_std": config["preprocess_std"],
        },
    });
    let network = models::build(&Config::from_json(&tree).map_err(problem)?).map_err(problem)?;
    let files = names::flax_names(network.manifest()).map_err(problem)?;
    let names = files.iter().map(|(name, _)| name.clone()).collect();
    Loaded::new(network, names, context, |name| {
        let tensor = case.tensor(&format!("param.{name}"))?;
        let layout = files.iter().find(|(n, _)| n == name).map(|(_, layout)| *layout);
        let layout = layout.ok_or_else(|| format!("{name} is no parameter"))?;
        Ok(tensor.permute(&layout.axes(tensor.shape.len())))
    })
}

fn log_softmax(row: &[f64]) -> Vec<f64> {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|v| (v - largest).exp()).sum();
    row.iter().map(|v| v - largest - sum.ln()).collect()
}
