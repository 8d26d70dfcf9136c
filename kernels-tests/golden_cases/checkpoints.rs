//! Files of `torch.save`, zip and legacy: the tensors in them, and the outputs of the raw and of the averaged model.

use langevin::checkpoint::{Tensors, torch};
use langevin::models::{self, Config, names};

use crate::case::{Case, Tensor};
use crate::check::{self, Outputs, Report};
use crate::context::Context;
use crate::network::{Loaded, problem};

/// Runs a case of `checkpoints/`: `files` are the same checkpoint in several formats.
pub fn run(case: &Case, context: &Context) -> Result<Report, String> {
    let files = case.key("files")?.as_array().ok_or("`files` is not a list")?;
    let mut report = Report::new();
    for file in files.iter().filter_map(|file| file.as_str()).filter(|file| file.ends_with(".pth")) {
        report.merge(run_file(case, context, file)?);
    }
    Ok(report)
}

fn run_file(case: &Case, context: &Context, file: &str) -> Result<Report, String> {
    let checkpoint = torch::open(case.dir.join(file)).map_err(problem)?;
    let ema = checkpoint.ema.as_ref().ok_or("there is no average")?.as_ref().map_err(|e| e.to_string())?;
    let config = Config::from_json(case.key("config")?).map_err(problem)?;
    let mut outputs = Outputs::new();
    for (averaged, output) in [(false, "out.raw"), (true, "out.ema")] {
        let network = models::build(&config).map_err(problem)?;
        let names = names::torch_names(network.manifest()).map_err(problem)?;
        let trained: Vec<String> = names
            .iter()
            .zip(network.manifest().params())
            .filter(|(_, param)| param.trainable)
            .map(|(name, _)| name.clone())
            .collect();
        let loaded = Loaded::new(network, names, context, |name| {
            let place = trained.iter().position(|n| n == name);
            match place.filter(|_| averaged) {
                Some(place) => tensor(&ema.shadow_params[place]),
                None => model_tensor(&checkpoint.model, name),
            }
        })?;
        let input = |name: &str| case.tensor(&format!("in.{name}"));
        let mut result = loaded.run(&input("x")?, &input("time_cond")?, None, false)?;
        outputs.insert(output, result.take("out.y").ok_or("no output")?);
    }
    check::check(case, &outputs)
}

fn model_tensor(model: &Tensors, name: &str) -> Result<Tensor, String> {
    tensor(model.get(name).ok_or_else(|| format!("{name} is not in the file"))?)
}

fn tensor(tensor: &langevin::checkpoint::Tensor) -> Result<Tensor, String> {
    Ok(Tensor::from_f32(tensor.shape(), &tensor.to_f32().map_err(problem)?))
}
