//! The data file of an LMDB.

#![no_main]

use std::io::Cursor;

use langevin::data::fuzzing::lmdb_file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = lmdb_file(Cursor::new(bytes), bytes.len() as u64);
});
