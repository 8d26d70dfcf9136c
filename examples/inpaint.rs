//! Fills in one half of a digit after the other, each from what the last one left, into `inpainted.png`.

use langevin::gpu::Gpu;
use langevin::pipeline::{Mask, Pretrained};
use langevin::sampling::solvers::{DpmSolverPp, PredictorCorrector};

fn main() -> langevin::Result<()> {
    let gpu = Gpu::open_default()?;
    let model = Pretrained::embedded().load(&gpu)?;
    let [h, w, _] = model.image_shape();
    let mut image = model.sampler(DpmSolverPp::steps(20)).seeds([5]).draw()?;
    let mut shown = image.clone();
    for (round, part) in ["left", "right", "top", "bottom"].into_iter().enumerate() {
        let mask = Mask::named(part, [h, w])?;
        let solver = PredictorCorrector::default().steps(50);
        image = model.inpaint(&image, &mask)?.by(solver).seeds([round as u64]).draw()?;
        println!("round {round}: the {part} is new, {:.0}% were kept", 100.0 * mask.share());
        shown.extend(&image)?;
    }
    shown.grid_of(Some(shown.len()))?.save("inpainted.png")
}
