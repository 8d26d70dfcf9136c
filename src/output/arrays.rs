//! Samples as numbers: `.npz` and safetensors.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, View};

use super::file::write_whole;
use crate::formats::npy::{self, NpyArray};
use crate::{Error, Result};

/// Writes named arrays as `.npz`, stored, for NumPy.
///
/// # Errors
/// [`Error::Io`]; where an array's shape does not hold its values, of the kind `InvalidInput`.
pub fn write_npz(path: &Path, arrays: &[(&str, &NpyArray)]) -> Result<()> {
    write_whole(path, |out| npy::write_npz(out, arrays))
}

/// Writes named f32 tensors with text about them.
///
/// # Errors
/// [`Error::Io`]; [`Error::Shape`] where a shape does not hold its values; [`Error::NonFinite`] for NaN or infinity.
pub fn write_safetensors(
    path: &Path,
    tensors: &[(&str, &[usize], &[f32])],
    about: &[(&str, &str)],
) -> Result<()> {
    for (name, shape, values) in tensors {
        if shape.iter().product::<usize>() != values.len() {
            let problem = format!("{} values of {name:?} for shape {shape:?}", values.len());
            return Err(Error::shape("safetensors", problem, "give as many values as the shape holds"));
        }
        if values.iter().any(|v| !v.is_finite()) {
            return Err(Error::NonFinite { tensor: name.to_string(), step: 0 });
        }
    }
    let views = tensors.iter().map(|(name, shape, values)| (name.to_string(), Floats { shape, values }));
    let about: HashMap<String, String> = about.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let bytes = safetensors::serialize(views, Some(about)).map_err(|e| Error::format(path, e.to_string()))?;
    write_whole(path, |out| std::io::Write::write_all(out, &bytes))
}

struct Floats<'a> {
    shape: &'a [usize],
    values: &'a [f32],
}

impl View for Floats<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    fn data_len(&self) -> usize {
        self.values.len() * 4
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use safetensors::SafeTensors;

    use super::*;
    use crate::formats::npy::{NpyData, read_npz};

    #[test]
    fn safetensors_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        write_safetensors(&path, &[("x", &[1, 1, 1, 2], &[0.5, -2.0])], &[("seeds", "0")]).unwrap();
        let bytes = fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let view = file.tensor("x").unwrap();
        assert_eq!((view.dtype(), view.shape()), (Dtype::F32, &[1, 1, 1, 2][..]));
        assert_eq!(view.data(), [0, 0, 0, 0x3f, 0, 0, 0, 0xc0]);
        let (_, head) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(head.metadata().as_ref().unwrap()["seeds"], "0");
        assert!(write_safetensors(&path, &[("x", &[3], &[0.5])], &[]).is_err());
        assert!(
            write_safetensors(&path, &[("x", &[1], &[f32::NAN])], &[]).unwrap_err().to_string().contains('x')
        );
    }

    #[test]
    fn npz_is_whole_or_absent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.npz");
        let good = NpyArray { shape: vec![2], data: NpyData::U8(vec![1, 2]) };
        let bad = NpyArray { shape: vec![3], data: NpyData::U8(vec![1, 2]) };
        assert!(write_npz(&path, &[("a", &good), ("b", &bad)]).is_err());
        assert!(!path.exists());
        write_npz(&path, &[("a", &good)]).unwrap();
        let file = fs::File::open(&path).unwrap();
        assert_eq!(read_npz(file, &path).unwrap(), [("a".to_string(), good)]);
    }
}
