//! The restricted unpickler: the input is the pickle of a zip file and of a legacy file around it.

#![no_main]

use langevin::checkpoint::{Source, torch};
use langevin::formats::zip::ZipWriter;
use libfuzzer_sys::fuzz_target;

/// What stands before the object in a legacy file: magic number, protocol, description of the system.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}X\x0d\0\0\0little_endian\x88s.";
/// What follows: the list of storages, here "0" with four elements.
const STORAGES: &[u8] = b"\x80\x02]X\x01\0\0\x000a.\x04\0\0\0\0\0\0\00123456789abcdef";

fuzz_target!(|pickle: &[u8]| {
    let mut zip = ZipWriter::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8]| zip.add(name, &[bytes]).expect("a Vec takes any bytes");
    add("f/data.pkl", pickle);
    for key in 0..4 {
        add(&format!("f/data/{key}"), &[key; 64]);
    }
    let zip = zip.finish().expect("a Vec takes any bytes");
    for bytes in [zip, [LEGACY, pickle, STORAGES].concat()] {
        let Ok(file) = torch::read(&Source::memory("fuzz", bytes)) else { continue };
        let average = file.ema.iter().flatten().flat_map(|ema| &ema.shadow_params);
        let moments = file.optimizer.iter().flatten().flat_map(|adam| adam.state.values());
        let moments = moments.flat_map(|moments| [&moments.exp_avg, &moments.exp_avg_sq]);
        for tensor in file.model.iter().map(|(_, tensor)| tensor).chain(average).chain(moments) {
            let _ = tensor.to_f32();
        }
    }
});
