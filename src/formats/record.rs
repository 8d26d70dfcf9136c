//! TensorFlow's record framing, shared by TFRecord data sets and TensorBoard event files.
//!
//! A record is `u64 length, u32 masked_crc32c(length), data, u32 masked_crc32c(data)`, little endian
//! (`tensorflow/core/lib/io/record_writer.cc`). The crates for it bring a protobuf library and an async runtime for these 16 bytes of
//! framing.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::crc::masked_crc32c;
use crate::{Error, Result};

/// Writes one record.
pub fn write_record(out: &mut impl Write, data: &[u8]) -> io::Result<()> {
    let length = (data.len() as u64).to_le_bytes();
    out.write_all(&length)?;
    out.write_all(&masked_crc32c(&length).to_le_bytes())?;
    out.write_all(data)?;
    out.write_all(&masked_crc32c(data).to_le_bytes())
}

/// Reads records until the end of `inner`. Both checksums of a record are checked.
pub struct RecordReader<R> {
    inner: R,
    path: PathBuf,
    max_bytes: u64,
    offset: u64,
}

impl<R: Read> RecordReader<R> {
    /// Reads from `inner`, named `path` in errors; a record over `max_bytes` is refused.
    pub fn new(inner: R, path: &Path, max_bytes: u64) -> Self {
        Self { inner, path: path.to_path_buf(), max_bytes, offset: 0 }
    }

    /// The next record's data, or none at the end of the file.
    ///
    /// # Errors
    /// [`Error::Format`] where a checksum fails, the file ends inside a record, or a record exceeds the limit.
    pub fn next_record(&mut self) -> Result<Option<Vec<u8>>> {
        let mut head = Vec::with_capacity(12);
        self.fill(12, &mut head)?;
        if head.is_empty() {
            return Ok(None);
        }
        let Some((length, crc)) = split_head(&head) else {
            return Err(self.bad("the file ends inside a record's length"));
        };
        if masked_crc32c(&length.to_le_bytes()) != crc {
            return Err(self.bad("the checksum of a record's length is wrong"));
        }
        if length > self.max_bytes {
            return Err(
                self.bad(&format!("a record of {length} bytes is over the limit of {}", self.max_bytes))
            );
        }
        // Read by growth: a length alone is no reason to allocate.
        let mut data = Vec::new();
        self.fill(length, &mut data)?;
        let mut tail = Vec::with_capacity(4);
        self.fill(4, &mut tail)?;
        let Ok(crc) = <[u8; 4]>::try_from(tail.as_slice()) else {
            return Err(self.bad(&format!("the file ends inside a record of {length} bytes")));
        };
        if masked_crc32c(&data) != u32::from_le_bytes(crc) {
            return Err(self.bad(&format!("the checksum of a record of {length} bytes is wrong")));
        }
        self.offset += 16 + length;
        Ok(Some(data))
    }

    fn fill(&mut self, n: u64, into: &mut Vec<u8>) -> Result<()> {
        (&mut self.inner).take(n).read_to_end(into).map_err(Error::io(&self.path))?;
        Ok(())
    }

    fn bad(&self, what: &str) -> Error {
        Error::format(&self.path, format!("{what} (record at byte {})", self.offset))
    }
}

fn split_head(head: &[u8]) -> Option<(u64, u32)> {
    let (length, crc) = head.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*length), u32::from_le_bytes(crc.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `tf.io.TFRecordWriter("f").write(b"abc")`, byte for byte.
    const ABC: [u8; 19] =
        [3, 0, 0, 0, 0, 0, 0, 0, 0xb0, 0x99, 0x49, 0x0e, b'a', b'b', b'c', 0x6e, 0x57, 0xf1, 0x21];

    fn all(bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut reader = RecordReader::new(bytes, Path::new("mem"), 1 << 20);
        let mut out = Vec::new();
        while let Some(r) = reader.next_record()? {
            out.push(r);
        }
        Ok(out)
    }

    #[test]
    fn known_bytes() {
        let mut out = Vec::new();
        write_record(&mut out, b"abc").unwrap();
        assert_eq!(out, ABC);
        assert_eq!(all(&ABC).unwrap(), [b"abc".to_vec()]);
    }

    #[test]
    fn empty_and_several_records_round_trip() {
        let records = [vec![], vec![7; 1], vec![9; 1000]];
        let mut out = Vec::new();
        for r in &records {
            write_record(&mut out, r).unwrap();
        }
        assert_eq!(all(&out).unwrap(), records);
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_an_error() {
        for cut in 1..ABC.len() {
            assert!(all(&ABC[..cut]).is_err(), "cut at {cut}");
        }
        for bit in 0..ABC.len() * 8 {
            let mut bytes = ABC;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(all(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_huge_length_with_a_good_checksum_allocates_nothing() {
        let length = (1u64 << 60).to_le_bytes();
        let mut bytes = length.to_vec();
        bytes.extend(masked_crc32c(&length).to_le_bytes());
        let error = all(&bytes).unwrap_err().to_string();
        assert!(error.contains("over the limit"), "{error}");
    }
}
