//! Archives of pictures: tar, plain, gzip and xz, and zip.

#![no_main]

use langevin::data::fuzzing::archive;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = archive(bytes);
});
