//! The texts of a PNG.

#![no_main]

use langevin::output::Provenance;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Provenance::parse(bytes, "fuzz".as_ref());
});
