//! The header of safetensors, and of our own checkpoints.

#![no_main]

use langevin::checkpoint::{Checkpoint, Source, safetensors};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let source = Source::memory("fuzz", bytes.to_vec());
    if let Ok(file) = safetensors::read(&source) {
        for (_, tensor) in file.tensors.iter() {
            let _ = tensor.to_f32();
        }
    }
    if let Ok(checkpoint) = Checkpoint::read(&source) {
        let _ = checkpoint.verify();
    }
});
