//! What the fuzz targets reach of the readers that are no part of the interface. Compiled with `--cfg fuzzing` only.

use std::io::{Cursor, Read, Seek};
use std::path::Path;

use super::container::walk_archive;
use super::decode::Limits;
use super::item::Body;
use super::{cifar, lmdb, tfrecord};
use crate::Result;

/// Small figures, so that small inputs reach them.
const LIMITS: Limits = Limits { max_side: 512, max_pixels: 1 << 16, max_bytes: 1 << 16, memory: 1 << 20 };

/// Counts what a walk visits.
fn count(walk: impl FnOnce(super::item::Visit) -> Result<()>) -> Result<u64> {
    let mut seen = 0;
    walk(&mut |item| {
        seen += u64::from(!matches!(item.body, Body::Bad(_)));
        Ok(())
    })?;
    Ok(seen)
}

/// A tar (plain, gzip, xz) or zip of pictures.
pub fn archive(bytes: &[u8]) -> Result<u64> {
    let name = Path::new("fuzz");
    count(|visit| walk_archive(Cursor::new(bytes), bytes.len() as u64, name, &LIMITS, visit).map(drop))
}

/// A TFRecord file.
pub fn records(bytes: &[u8]) -> Result<u64> {
    count(|visit| tfrecord::read_file("x.tfrecords", bytes, Path::new("fuzz"), &LIMITS, visit))
}

/// The message inside of a record.
pub fn example(bytes: &[u8]) -> bool {
    tfrecord::parse_example(bytes, &LIMITS).is_ok()
}

/// A batch of CIFAR-10.
pub fn cifar_batch(bytes: &[u8]) -> Result<u64> {
    count(|visit| cifar::read_batch("data_batch_1.bin", bytes, Path::new("fuzz"), visit))
}

/// The data file of an LMDB.
pub fn lmdb_file(file: impl Read + Seek, length: u64) -> Result<u64> {
    count(|visit| lmdb::read(file, length, Path::new("x_train_lmdb/data.mdb"), &LIMITS, visit))
}
