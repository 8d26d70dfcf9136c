//! Progress while images are drawn, and an early end from another thread: what whole batches gave is kept.

use std::sync::mpsc;

use langevin::gpu::Gpu;
use langevin::pipeline::{Pretrained, Progress, Stop};
use langevin::sampling::solvers::DpmSolverPp;

fn main() -> langevin::Result<()> {
    let gpu = Gpu::open_default()?;
    let model = Pretrained::embedded().load(&gpu)?;
    let stop = Stop::new();
    let (tell, told) = mpsc::channel::<Progress>();
    let ender = std::thread::spawn({
        let stop = stop.clone();
        move || {
            let mut heard = 0;
            for progress in told {
                heard += 1;
                // Somebody who has seen enough after the first batch.
                if progress.images >= 4 {
                    stop.stop();
                }
            }
            heard
        }
    });
    let images = model
        .sampler(DpmSolverPp::steps(10))
        .seeds(0..400)
        .batch(4)
        // A listener that went away ends nothing.
        .progress(move |progress| {
            let _ = tell.send(progress);
        })
        .until(&stop)
        .draw()?;
    println!("{} of 400 images, told {} times", images.len(), ender.join().expect("the thread ends"));
    assert!((4..400).contains(&images.len()));
    Ok(())
}
