//! A network of one's own: trained on pictures, stopped, resumed to the same bits, sampled, exported.
//!
//!     cargo run --release --example own_network -- photos/

mod network;

use langevin::data::{Dataset, Preprocess};
use langevin::gpu::Gpu;
use langevin::pipeline::{Pretrained, Training};
use langevin::sampling::solvers::DpmSolverPp;
use langevin::sde::Vp;
use langevin::training::Event;
use network::Residual;

/// Pictures of a folder, or 64 slopes where none is given.
fn pictures() -> langevin::Result<std::sync::Arc<Dataset>> {
    if let Some(folder) = std::env::args().nth(1) {
        return Dataset::pictures(folder, 16, 1);
    }
    let slope = |i: usize| (0..256).map(move |p| ((p % 16) * (i % 8) + (p / 16) * (i / 8)) as u8);
    let pixels = (0..64).flat_map(slope).collect();
    Ok(Dataset::from_pixels(pixels, Preprocess::new(16, 1)?, &[], &[])?.into())
}

fn main() -> langevin::Result<()> {
    let gpu = Gpu::open_default()?;
    for steps in [100, 200] {
        // The second round goes on from the checkpoint of the first, bit for bit as if it had never stopped.
        let training = Training::new(&gpu, Residual::new(16), Vp::default(), pictures()?);
        let outcome = training.folder("runs/own").batch(8).steps(steps).run(|event| {
            if let Event::Logged(figures) = event {
                println!("step {}: loss {:.3}", figures.step, figures.loss);
            }
        })?;
        println!("{} steps are done", outcome.step);
    }
    let model = Pretrained::open("runs/own")?.network(Residual::new(16)).load(&gpu)?;
    model.sampler(DpmSolverPp::steps(20)).seeds(0..4).draw()?.grid()?.save("own.png")?;
    model.saved().save("own.safetensors", Default::default(), false)
}
