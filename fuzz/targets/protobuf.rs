//! The wire format of protobuf, and `tf.train.Example` in it.

#![no_main]

use langevin::data::fuzzing::example;
use langevin::formats::protobuf::fields;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = fields(bytes).count();
    let _ = example(bytes);
});
