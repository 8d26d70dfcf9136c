//! Draws 16 digits by the embedded model into `digits.png`.

use langevin::gpu::Gpu;
use langevin::pipeline::Pretrained;
use langevin::sampling::solvers::DpmSolverPp;

fn main() -> langevin::Result<()> {
    let gpu = Gpu::open_default()?;
    let model = Pretrained::embedded().load(&gpu)?;
    let images = model.sampler(DpmSolverPp::steps(20)).seeds(0..16).draw()?;
    images.grid()?.save("digits.png")?;
    println!("{} images of {:?} (n h w c), {} evaluations each", images.len(), images.shape(), images.nfe());
    Ok(())
}
