//! TensorFlow's record files, with checksums that are made right first, and CIFAR-10's batches.

#![no_main]

use langevin::data::fuzzing::{cifar_batch, records};
use langevin::formats::record::write_record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = records(bytes);
    // The first byte cuts the rest in two records whose checksums are right.
    let Some((&cut, rest)) = bytes.split_first() else { return };
    let (a, b) = rest.split_at(usize::from(cut).min(rest.len()));
    let mut file = Vec::new();
    write_record(&mut file, a).and_then(|()| write_record(&mut file, b)).expect("a Vec takes any bytes");
    records(&file).expect("well framed records are read, whatever they hold");
    let _ = cifar_batch(bytes);
});
