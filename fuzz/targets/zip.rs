//! The zip directory and everything behind it: the input is a whole file of torch.save.

#![no_main]

use langevin::checkpoint::{Source, torch};
use langevin::formats::zip::ZipReader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(mut zip) = ZipReader::open(std::io::Cursor::new(bytes), "fuzz".as_ref()) {
        for index in 0..zip.entries().len() {
            let _ = zip.read(index, 1 << 20);
        }
    }
    if let Ok(file) = torch::read(&Source::memory("fuzz", bytes.to_vec())) {
        for (_, tensor) in file.model.iter() {
            let _ = tensor.to_f32();
        }
    }
});
