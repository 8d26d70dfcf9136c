//! Our own checkpoints, their checksums made right first, down to the configuration and the tensors.

#![no_main]

use langevin::checkpoint::{Checkpoint, Source, sealed};
use langevin::models::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(file) = sealed(&Source::memory("fuzz", bytes.to_vec())) else { return };
    let Ok(checkpoint) = Checkpoint::read(&Source::memory("fuzz", file)) else { return };
    checkpoint.verify().expect("the checksums were made right");
    let _ = Config::from_toml(&checkpoint.config, "fuzz");
});
