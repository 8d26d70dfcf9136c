//! Whole runs of training: a network of the paper learns real pictures, runs that are killed lose nothing, recomputation changes no bit.

mod ends;
mod killed;
mod large;
mod learning;
mod recompute;

use langevin::gpu::{Gpu, Options};

/// The device, or a failure that says what to install; none where `LANGEVIN_ALLOW_NO_GPU=1` allows it, which is said.
fn gpu() -> Option<Gpu> {
    match Gpu::open(&Options::default()) {
        Ok(gpu) => Some(gpu),
        Err(error) if std::env::var_os("LANGEVIN_ALLOW_NO_GPU").is_some_and(|v| v == "1") => {
            eprintln!("LANGEVIN_ALLOW_NO_GPU: left out, since {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}
