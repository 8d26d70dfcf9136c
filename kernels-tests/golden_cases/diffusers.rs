//! Folders as diffusers writes them: the network's output and its gradient by the image.

use langevin::checkpoint::{diffusers, unet2d};
use langevin::models::unet::Unet;
use langevin::models::{Network, Weights};

use crate::case::Case;
use crate::check::{self, Report};
use crate::context::Context;
use crate::network::{Loaded, problem};

/// Runs a case of `diffusers/`: `folder` is a network's folder.
pub fn run(case: &Case, context: &Context) -> Result<Report, String> {
    if case.key("config")?.get("scheduler").is_some() {
        return Err("trajectories have no runner".into());
    }
    let folder = case.key("folder")?.as_str().ok_or("`folder` is not a string")?;
    let loaded = network(case, context, folder)?;
    let input = |name: &str| case.tensor(&format!("in.{name}"));
    let outputs = loaded.run(&input("x")?, &input("timestep")?, Some(&input("dy")?), false)?;
    check::check(case, &outputs)
}

/// The network of a folder beside the case.
pub fn network(case: &Case, context: &Context, folder: &str) -> Result<Loaded, String> {
    let folder = diffusers::open(case.dir.join(folder)).map_err(problem)?;
    let unet = Unet::new(unet2d::spec(&folder.unet).map_err(problem)?).map_err(problem)?;
    let weights = Weights::zeros(context.gpu()?, unet.manifest()).map_err(problem)?;
    let tensors = folder.tensors().map_err(problem)?;
    unet2d::read(&unet, &tensors, |name, data| weights.write(name, data)).map_err(problem)?;
    Loaded::ready(Box::new(unet), weights, context)
}
