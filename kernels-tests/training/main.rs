//! Whole runs of training: a network of the paper learns real pictures, runs that are killed lose nothing, recomputation changes no bit.

mod ends;
#[allow(dead_code, reason = "the tests use a part of it")]
#[path = "../../tools/gen/environment.rs"]
mod environment;
mod killed;
mod large;
mod learning;
mod recompute;

use langevin::gpu::{Gpu, Options};

/// How the tests open a device: the environment may choose one, and nothing is kept on disk.
fn options() -> Options {
    let given = environment::options().unwrap_or_else(|e| panic!("{}: {e}", environment::KERNELS));
    Options { cooperative: false, cache_folder: None, ..given }
}

/// The device, or a failure that says what to install; none where `LANGEVIN_ALLOW_NO_GPU=1` allows it, which is said.
fn gpu() -> Option<Gpu> {
    match Gpu::open(&options()) {
        Ok(gpu) => Some(gpu),
        Err(error) if environment::is_on("LANGEVIN_ALLOW_NO_GPU") => {
            eprintln!("LANGEVIN_ALLOW_NO_GPU: left out, since {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}
