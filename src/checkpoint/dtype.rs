//! The element types of tensors in files.

use std::fmt;

use half::{bf16, f16};

/// The type of a tensor's elements in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE 754 double.
    F64,
    /// IEEE 754 single.
    F32,
    /// IEEE 754 half.
    F16,
    /// The upper half of a single.
    Bf16,
    /// Signed, 8 bytes.
    I64,
    /// Signed, 4 bytes.
    I32,
    /// Signed, 2 bytes.
    I16,
    /// Signed, 1 byte.
    I8,
    /// Unsigned, 1 byte.
    U8,
    /// One byte, 0 or 1.
    Bool,
}

impl DType {
    /// Bytes per element.
    pub const fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// The name in safetensors' headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::I64 => "I64",
            Self::I32 => "I32",
            Self::I16 => "I16",
            Self::I8 => "I8",
            Self::U8 => "U8",
            Self::Bool => "BOOL",
        }
    }

    /// The type of that name in safetensors' headers.
    pub fn from_name(name: &str) -> Option<Self> {
        const ALL: [DType; 10] = {
            use DType::*;
            [F64, F32, F16, Bf16, I64, I32, I16, I8, U8, Bool]
        };
        ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Appends the elements of `bytes` (whole elements, little-endian) as f64.
    pub(super) fn append_f64(self, bytes: &[u8], out: &mut Vec<f64>) {
        fn each<const N: usize>(bytes: &[u8], out: &mut Vec<f64>, f: impl Fn([u8; N]) -> f64) {
            out.extend(bytes.as_chunks::<N>().0.iter().map(|element| f(*element)));
        }
        match self {
            Self::F64 => each(bytes, out, f64::from_le_bytes),
            Self::F32 => each(bytes, out, |b| f32::from_le_bytes(b).into()),
            Self::F16 => each(bytes, out, |b| f16::from_le_bytes(b).into()),
            Self::Bf16 => each(bytes, out, |b| bf16::from_le_bytes(b).into()),
            Self::I64 => each(bytes, out, |b| i64::from_le_bytes(b) as f64),
            Self::I32 => each(bytes, out, |b| i32::from_le_bytes(b).into()),
            Self::I16 => each(bytes, out, |b| i16::from_le_bytes(b).into()),
            Self::I8 => each(bytes, out, |[b]| (b as i8).into()),
            Self::U8 => each(bytes, out, |[b]| b.into()),
            Self::Bool => each(bytes, out, |[b]| f64::from(u8::from(b != 0))),
        }
    }

    /// Appends the elements of `bytes` (whole elements, little-endian) as f32, each rounded to nearest once.
    pub(super) fn append_f32(self, bytes: &[u8], out: &mut Vec<f32>) {
        match self {
            Self::F32 => {
                out.extend(bytes.as_chunks::<4>().0.iter().map(|element| f32::from_le_bytes(*element)));
            }
            // An i64 above 2^53 would be rounded twice by way of f64.
            Self::I64 => {
                out.extend(
                    bytes.as_chunks::<8>().0.iter().map(|element| i64::from_le_bytes(*element) as f32),
                );
            }
            _ => {
                let mut wide = Vec::with_capacity(bytes.len() / self.size());
                self.append_f64(bytes, &mut wide);
                out.extend(wide.into_iter().map(|value| value as f32));
            }
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
