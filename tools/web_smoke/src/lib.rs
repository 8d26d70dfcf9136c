//! The digits of seeds 0 to 3 by the embedded model, drawn in a browser: opening the device, allocating, compiling, running and reading
//! back, all of which wait there for promises.

use langevin::gpu::{Gpu, Options};
use langevin::pipeline::Pretrained;
use langevin::sampling::solvers::DpmSolverPp;
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
    let model = Pretrained::embedded().load_async(&gpu).await?;
    let sampling = model.sampler(DpmSolverPp::steps(STEPS).eta(0.0)).seeds(0..SEEDS);
    Ok(sampling.draw_async().await?.values().to_vec())
}
