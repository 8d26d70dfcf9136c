//! CIFAR-10's binary version: `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`, each 10,000 records of one
//! label byte and 3 x 32 x 32 bytes, `c h w` (<https://www.cs.toronto.edu/~kriz/cifar.html>).

use std::io::{ErrorKind, Read};
use std::path::Path;

use super::decode::Picture;
use super::item::{Body, Item, Visit};
use super::transform::nhwc_to_nchw;
use crate::limits::shown;
use crate::{Error, Result};

const SIDE: usize = 32;
const PIXELS: usize = SIDE * SIDE;
const RECORD: usize = 1 + 3 * PIXELS;

/// A batch has 10,000 records; ten times that is still one.
pub(crate) const MAX_BATCH_BYTES: u64 = 100_000 * RECORD as u64;

/// The names of `batches.meta.txt`. They are in alphabetical order, so that labels agree with those of class folders.
pub const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Whether a file is one of the six, by name.
pub(crate) fn is_batch_name(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    let Some(stem) = file.strip_suffix(".bin") else { return false };
    let number = |n: &str| !n.is_empty() && n.len() < 4 && n.bytes().all(|b| b.is_ascii_digit());
    stem == "test_batch" || stem.strip_prefix("data_batch_").is_some_and(number)
}

/// Visits the records of one batch, named as a class folder would name them, so that split and class follow.
///
/// # Errors
/// [`Error::Format`] where the file ends inside a record or a label is above 9.
pub(crate) fn read_batch(name: &str, mut reader: impl Read, path: &Path, visit: Visit) -> Result<()> {
    let file = name.rsplit('/').next().unwrap_or(name).trim_end_matches(".bin");
    let split = if file == "test_batch" { "test" } else { "train" };
    let mut record = [0u8; RECORD];
    for index in 0.. {
        // The first byte apart: there the file may end.
        let first = reader.by_ref().take(1).read(&mut record[..1]).map_err(Error::io(path))?;
        if first == 0 {
            break;
        }
        reader.read_exact(&mut record[1..]).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => Error::format(
                path,
                format!("{} ends inside record {index}; records have {RECORD} bytes", shown(name)),
            ),
            _ => Error::Io { path: path.to_path_buf(), source: e },
        })?;
        let label = record[0];
        let Some(class) = CLASSES.get(usize::from(label)) else {
            return Err(Error::format(
                path,
                format!("{} has label {label} in record {index}; 0 to 9 are known", shown(name)),
            ));
        };
        let pixels = nhwc_to_nchw(&record[1..], 3, PIXELS);
        let picture = Picture { width: SIDE as u32, height: SIDE as u32, channels: 3, pixels };
        visit(Item { name: format!("{split}/{class}/{file}#{index:05}"), body: Body::Raw(picture) })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], name: &str) -> Result<Vec<(String, Picture)>> {
        let mut out = Vec::new();
        read_batch(name, bytes, Path::new("c10"), &mut |item| {
            if let Body::Raw(p) = item.body {
                out.push((item.name, p));
            }
            Ok(())
        })?;
        Ok(out)
    }

    #[test]
    fn planes_become_pixels() {
        let mut bytes = vec![0u8; 2 * RECORD];
        bytes[0] = 3;
        // Red, green, blue of the second pixel.
        (bytes[1 + 1], bytes[1 + PIXELS + 1], bytes[1 + 2 * PIXELS + 1]) = (10, 20, 30);
        bytes[RECORD] = 9;
        let got = read(&bytes, "x/data_batch_2.bin").unwrap();
        assert_eq!(got[0].0, "train/cat/data_batch_2#00000");
        assert_eq!(got[1].0, "train/truck/data_batch_2#00001");
        assert_eq!(got[0].1.pixels[..6], [0, 0, 0, 10, 20, 30]);
        assert_eq!(read(&bytes, "test_batch.bin").unwrap()[0].0, "test/cat/test_batch#00000");
    }

    #[test]
    fn damage_is_named() {
        let bytes = vec![0u8; RECORD + 5];
        assert!(read(&bytes, "test_batch.bin").unwrap_err().to_string().contains("ends inside record 1"));
        let bytes = vec![10u8; RECORD];
        assert!(read(&bytes, "test_batch.bin").unwrap_err().to_string().contains("label 10"));
    }

    #[test]
    fn names() {
        for name in ["data_batch_1.bin", "cifar-10-batches-bin/test_batch.bin"] {
            assert!(is_batch_name(name));
        }
        for name in ["data_batch_.bin", "data_batch_1.txt", "model.bin", "data_batch_x.bin"] {
            assert!(!is_batch_name(name));
        }
        let mut sorted = CLASSES;
        sorted.sort_unstable();
        assert_eq!(sorted, CLASSES);
    }
}
