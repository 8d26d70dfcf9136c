//! Byte formats that several modules share: checksums, TensorFlow's record framing, protobuf's wire format, zip, npy.
//!
//! Everything here works on readers, writers and slices; the modules that open files are `data`, `output` and
//! `checkpoint`. Readers take the file's name for their errors, check every size against what is there before they
//! allocate, and never panic on any input.

pub mod crc;
pub mod npy;
pub mod protobuf;
pub mod record;
pub mod zip;
