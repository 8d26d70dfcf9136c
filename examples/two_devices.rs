//! Two devices side by side: each draws half of the images, which are those that one device draws alone.
//!
//! Every adapter of the machine takes part; where there is one alone, it is opened twice.

use std::thread;

use langevin::gpu::{Gpu, Options, survey};
use langevin::pipeline::{Images, Pretrained};
use langevin::sampling::solvers::DpmSolverPp;

fn draw(device: String, seeds: std::ops::Range<u64>) -> langevin::Result<Images> {
    let gpu = Gpu::open(&Options { device: Some(device), ..Options::default() })?;
    let model = Pretrained::embedded().load(&gpu)?;
    let images = model.sampler(DpmSolverPp::steps(10)).seeds(seeds.clone()).draw()?;
    println!("{}: seeds {seeds:?}", gpu.adapter().name);
    Ok(images)
}

fn main() -> langevin::Result<()> {
    let found = survey(&Options::default())?;
    let first = found.adapters.first().map_or(0, |adapter| adapter.index);
    let second = found.adapters.get(1).map_or(first, |adapter| adapter.index);
    let other = thread::spawn(move || draw(second.to_string(), 4..8));
    let mut images = draw(first.to_string(), 0..4)?;
    images.extend(&other.join().expect("no panic")?)?;
    images.grid()?.save("two_devices.png")?;
    assert_eq!(images.len(), 8);
    Ok(())
}
