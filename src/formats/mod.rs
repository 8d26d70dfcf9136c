//! Byte formats that several modules share: checksums, TensorFlow's record framing, protobuf's wire format, zip, npy,
//! ranges and layouts of pixels.
//!
//! Everything here works on readers, writers and slices; the modules that open files are `data`, `output` and
//! `checkpoint`. Readers take the file's name for their errors, check every size against what is there before they
//! allocate, and never panic on any input.
//!
//! ```
//! use std::io::Cursor;
//!
//! use langevin::formats::npy::{NpyArray, NpyData, read_npz, write_npz};
//!
//! let array = NpyArray { shape: vec![2, 2], data: NpyData::U8(vec![1, 2, 3, 4]) };
//! let mut file = Vec::new();
//! write_npz(&mut file, &[("x", &array)])?;
//! assert_eq!(read_npz(Cursor::new(file), "x.npz".as_ref())?[0].1.data.to_f32(), [1.0, 2.0, 3.0, 4.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod crc;
pub mod npy;
pub mod pixels;
pub mod protobuf;
pub mod record;
pub mod zip;
