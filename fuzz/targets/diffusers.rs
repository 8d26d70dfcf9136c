//! Configurations of diffusers: a scheduler, or a U-Net down to the built network.

#![no_main]

use std::sync::OnceLock;

use langevin::checkpoint::diffusers::{SchedulerConfig, UNetConfig};
use langevin::checkpoint::{Tensor, Tensors, unet2d};
use langevin::models::Network;
use libfuzzer_sys::fuzz_target;

/// Stands for a file of weights that holds a thousand tensors of a million numbers together.
fn weights() -> &'static Tensors {
    static WEIGHTS: OnceLock<Tensors> = OnceLock::new();
    WEIGHTS.get_or_init(|| {
        let mut tensors = Tensors::new("weights");
        for i in 0..1000 {
            let tensor = Tensor::from_f32(&[1000], vec![0.0; 1000]).expect("a thousand numbers");
            tensors.insert(i.to_string(), tensor).expect("names differ");
        }
        tensors
    })
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = SchedulerConfig::from_json(text);
    let Ok(config) = UNetConfig::from_json(text) else { return };
    if let Ok(unet) = unet2d::network(&config, weights()) {
        unet2d::file_tensors(&unet).expect("every parameter of a network that is built has a place");
        assert!(!unet.manifest().params().is_empty());
    }
});
