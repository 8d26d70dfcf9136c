//! The digits of seeds 0 to 3 by the embedded model, drawn in a browser: opening the device, allocating, compiling, running and reading
//! back, all of which wait there for promises.

use langevin::checkpoint::{SavedModel, Which};
use langevin::gpu::{Gpu, Options};
use langevin::graph::Choice;
use langevin::nn::trace::WEIGHTS;
use langevin::sampling::run::{ImageSeed, Method, SamplerDraft};
use langevin::sampling::solvers::DpmSolverPp;
use langevin::score::{ModelScore, NetworkModel};
use langevin::training::{sde_of, time_of};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console)]
    fn error(message: &str);
}

const SEEDS: u64 = 4;
const STEPS: usize = 10;

/// The pixels of the digits, one after another, each row by row, 0 for black and 1 for white: what
/// `gen sample --seeds 0-3 --sampler dpmpp --steps 10 --eta 0` draws.
#[wasm_bindgen]
pub async fn digits() -> Result<Vec<f32>, JsError> {
    // A browser by itself says "unreachable" of a panic, and no more.
    std::panic::set_hook(Box::new(|panic| error(&panic.to_string())));
    Ok(draw().await?)
}

async fn draw() -> langevin::Result<Vec<f32>> {
    let gpu = Gpu::open_async(&Options::default()).await?;
    let saved = SavedModel::embedded(&Ok)?;
    let weights = saved.upload_async(&gpu, Which::Ema).await?;

    let sde = sde_of(&saved.config)?;
    let table = DpmSolverPp::steps(STEPS).eta(0.0).table(sde.as_ref(), time_of(&saved.config))?;
    let model = NetworkModel { network: saved.network.as_ref(), set: WEIGHTS };
    let score = ModelScore { model: &model, unscaled: false };
    let data = &saved.config.data;
    let shape = [SEEDS as usize, data.image_size, data.image_size, data.num_channels];
    let draft = SamplerDraft::new(&gpu, &score, Method::Solver(&table), shape, Choice::default())?;

    let mut sampler = draft.build_async(&gpu, weights.resources()).await?;
    let images: Vec<ImageSeed> = (0..SEEDS).map(|seed| ImageSeed { seed, image: 0 }).collect();
    let pixels = sampler.run_async(&images, |_| true).await?.unwrap_or_default();
    // The model's own scale is from -1 to 1.
    Ok(pixels.into_iter().map(|x| 0.5 * (x + 1.0)).collect())
}
