//! Bits per dimension of pictures under the embedded model: of digits that it drew, and of noise.
//!
//!     cargo run --release --example likelihood -- photos/

use langevin::gpu::Gpu;
use langevin::pipeline::{Images, Pretrained};
use langevin::random::Stream;
use langevin::sampling::solvers::DpmSolverPp;

fn main() -> langevin::Result<()> {
    let gpu = Gpu::open_default()?;
    let model = Pretrained::embedded().load(&gpu)?;
    // Looser than the default of 1e-5, which bits per dimension to four digits need; this is good for one.
    let likelihood = model.likelihood().tolerance(1e-1, 1e-1);
    if let Some(path) = std::env::args().nth(1) {
        let images = model.read(path).most(16).images()?;
        let measured = likelihood.of(&images)?;
        for (name, bits) in images.names().iter().zip(measured.each()) {
            println!("{name}: {bits:.3} bits per dimension");
        }
        return Ok(());
    }
    // As bytes, which every picture on disk is.
    let digits = model.sampler(DpmSolverPp::steps(20)).seeds(0..2).draw()?;
    let digits = Images::from_bytes(&digits.bytes()?)?;
    let mut noise = Stream::new(0, 0, 0);
    let values = (0..digits.values().len()).map(|_| (noise.word() >> 24) as f32 / 255.0).collect();
    let noise = Images::from_nhwc(digits.shape(), values)?;
    let [of_digits, of_noise] = [likelihood.of(&digits)?.mean(), likelihood.of(&noise)?.mean()];
    println!("digits {of_digits:.2}, noise {of_noise:.2} bits per dimension");
    assert!(of_digits < of_noise, "a model of digits finds digits likelier than noise");
    Ok(())
}
