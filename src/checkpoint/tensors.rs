//! Named tensors as data: element type, shape and bytes, in memory or still in their file. No device, no gradient.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::f16;

use crate::checkpoint::dtype::DType;
use crate::checkpoint::places::common_prefix;
use crate::checkpoint::source::{CHUNK, Check, Source};
use crate::checkpoint::xxh64::Xxh64;
use crate::{Error, Result};

// Files are little-endian and so is every machine that a GPU driver of ours runs on; `to_f32` and the segments rely on it.
#[cfg(target_endian = "big")]
compile_error!("tensor files are little-endian; big-endian machines are not supported");

/// One tensor, row-major and without holes once read. Cloning shares the data.
#[derive(Debug, Clone)]
pub struct Tensor {
    dtype: DType,
    shape: Box<[usize]>,
    data: Data,
}

#[derive(Debug, Clone)]
enum Data {
    Bytes(Arc<[u8]>),
    F32(Arc<[f32]>),
    Stored(Arc<Stored>),
}

/// Where a tensor lies in a file. Whoever builds one has checked that every element lies within the source.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) source: Arc<Source>,
    /// Byte offset of the first element.
    pub(super) offset: u64,
    /// Steps between neighbours along each axis, in elements; none where the tensor is row-major without holes.
    pub(super) strides: Option<Box<[u64]>>,
    /// What is verified before the first use.
    pub(super) check: Option<Arc<Check>>,
}

/// The number of elements of a shape, none on overflow.
pub(super) fn elements(shape: &[usize]) -> Option<usize> {
    // A zero anywhere makes the product zero, whatever the other sizes.
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |n, size| n.checked_mul(*size))
}

impl Tensor {
    /// A tensor of f32. Errors: [`Error::Shape`] where the count differs from the shape's.
    pub fn from_f32(shape: &[usize], data: impl Into<Arc<[f32]>>) -> Result<Self> {
        let data = data.into();
        Self::fits(shape, data.len())?;
        Ok(Self { dtype: DType::F32, shape: shape.into(), data: Data::F32(data) })
    }

    /// A tensor of little-endian bytes. Errors: [`Error::Shape`] where their count differs from the shape's.
    pub fn from_bytes(dtype: DType, shape: &[usize], data: impl Into<Arc<[u8]>>) -> Result<Self> {
        let data = data.into();
        if !data.len().is_multiple_of(dtype.size()) {
            let problem = format!("{} bytes are no whole number of {dtype} elements", data.len());
            return Err(Error::shape("tensor", problem, "give whole elements"));
        }
        Self::fits(shape, data.len() / dtype.size())?;
        Ok(Self { dtype, shape: shape.into(), data: Data::Bytes(data) })
    }

    pub(super) fn stored(dtype: DType, shape: &[usize], stored: Stored) -> Self {
        Self { dtype, shape: shape.into(), data: Data::Stored(Arc::new(stored)) }
    }

    fn fits(shape: &[usize], len: usize) -> Result<()> {
        if elements(shape) == Some(len) {
            return Ok(());
        }
        Err(Error::shape(
            "tensor",
            format!("{len} elements do not make the shape {shape:?}"),
            "give as many as the shape has",
        ))
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Size along each axis; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of bytes, without holes.
    pub fn byte_len(&self) -> usize {
        self.len() * self.dtype.size()
    }

    /// Passes the bytes on in row-major order, in pieces of whole elements. Errors: of the file, of its checksum, of `each`.
    pub fn chunks(&self, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        match &self.data {
            Data::Bytes(bytes) => bytes.chunks(CHUNK).try_for_each(each),
            Data::F32(values) => bytemuck::cast_slice(values).chunks(CHUNK).try_for_each(each),
            Data::Stored(stored) => {
                self.verify()?;
                match &stored.strides {
                    None => stored.source.chunks(stored.offset, self.byte_len() as u64, each),
                    Some(strides) => each(&self.gather(stored, strides)?),
                }
            }
        }
    }

    /// Brings the elements of a view with strides into row-major order.
    fn gather(&self, stored: &Stored, strides: &[u64]) -> Result<Vec<u8>> {
        let size = self.dtype.size();
        let mut out = vec![0; self.byte_len()];
        if out.is_empty() {
            return Ok(out);
        }
        let reach: u64 = self.shape.iter().zip(strides).map(|(n, stride)| (*n as u64 - 1) * stride).sum();
        let span_len = (reach + 1) * size as u64;
        // A permuted tensor covers its span, which is then read at once; a thin slice of a large one is read element by element.
        let span = if span_len <= 16 * out.len() as u64 {
            let mut span = vec![0; span_len as usize];
            stored.source.read_at(stored.offset, &mut span)?;
            Some(span)
        } else {
            None
        };
        let mut index = vec![0usize; self.shape.len()];
        for element in out.chunks_exact_mut(size) {
            let at: u64 = index.iter().zip(strides).map(|(i, stride)| *i as u64 * stride).sum();
            let at = at * size as u64;
            match &span {
                Some(span) => element.copy_from_slice(&span[at as usize..at as usize + size]),
                None => stored.source.read_at(stored.offset + at, element)?,
            }
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                if index[axis] < self.shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Ok(out)
    }

    /// The bytes in row-major order. Errors: as [`Tensor::chunks`].
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>> {
        match &self.data {
            Data::Bytes(bytes) => Ok(Cow::Borrowed(bytes)),
            Data::F32(values) => Ok(Cow::Borrowed(bytemuck::cast_slice(values))),
            Data::Stored(_) => {
                let mut out = Vec::with_capacity(self.byte_len());
                self.chunks(|part| {
                    out.extend_from_slice(part);
                    Ok(())
                })?;
                Ok(Cow::Owned(out))
            }
        }
    }

    /// The elements as f32, whatever they are in the file. Errors: as [`Tensor::chunks`].
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        let mut out = Vec::with_capacity(self.len());
        self.chunks(|part| {
            // A wider type passes through f64 in small pieces only.
            part.chunks(CHUNK).for_each(|piece| self.dtype.append_f32(piece, &mut out));
            Ok(())
        })?;
        Ok(out)
    }

    /// The elements as f64, whatever they are in the file. Errors: as [`Tensor::chunks`].
    pub fn to_f64(&self) -> Result<Vec<f64>> {
        let mut out = Vec::with_capacity(self.len());
        self.chunks(|part| {
            self.dtype.append_f64(part, &mut out);
            Ok(())
        })?;
        Ok(out)
    }

    /// The same values as f16, rounded to nearest. A finite value beyond 65504 is refused rather than made infinite.
    pub fn to_f16(&self, name: &str) -> Result<Self> {
        let mut out = Vec::with_capacity(self.len() * 2);
        for value in self.to_f32()? {
            let half = f16::from_f32(value);
            if value.is_finite() && !half.is_finite() {
                return Err(Error::invalid(name, value, "f16 holds at most 65504; keep this tensor in f32"));
            }
            out.extend_from_slice(&half.to_le_bytes());
        }
        Self::from_bytes(DType::F16, &self.shape, out)
    }

    /// Compares the checksum that the file records, if it does and nobody did before. Errors: [`Error::Format`] where it differs.
    pub fn verify(&self) -> Result<()> {
        match &self.data {
            Data::Stored(stored) => {
                stored.check.as_ref().map_or(Ok(()), |check| check.verify(&stored.source))
            }
            _ => Ok(()),
        }
    }

    /// XXH64 of the bytes in row-major order. Errors: as [`Tensor::chunks`].
    pub fn checksum(&self) -> Result<u64> {
        let mut hash = Xxh64::new(0);
        self.chunks(|part| {
            hash.update(part);
            Ok(())
        })?;
        Ok(hash.digest())
    }
}

/// Tensors by name, in the order of their file.
#[derive(Debug, Clone, Default)]
pub struct Tensors {
    /// The file, for messages.
    origin: PathBuf,
    list: Vec<(Arc<str>, Tensor)>,
    index: HashMap<Arc<str>, usize>,
    /// What stands in the file under a name where a tensor might.
    others: HashMap<Arc<str>, String>,
}

impl Tensors {
    /// An empty collection; `origin` is the file that messages name.
    pub fn new(origin: impl Into<PathBuf>) -> Self {
        Self { origin: origin.into(), ..Self::default() }
    }

    /// The file that messages name.
    pub fn origin(&self) -> &Path {
        &self.origin
    }

    /// Appends a tensor. Errors: [`Error::Format`] where the name is there already.
    pub fn insert(&mut self, name: impl Into<Arc<str>>, tensor: Tensor) -> Result<()> {
        let name = name.into();
        if self.index.contains_key(&name) {
            return Err(Error::format(&self.origin, format!("the tensor {name:?} occurs twice")));
        }
        self.index.insert(name.clone(), self.list.len());
        self.list.push((name, tensor));
        Ok(())
    }

    /// Remembers that something else than a tensor has this name, for the message to whoever asks for it.
    pub(super) fn insert_other(&mut self, name: impl Into<Arc<str>>, what: String) {
        self.others.insert(name.into(), what);
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.index.get(name).map(|i| &self.list[*i].1)
    }

    /// The tensor of that name and shape. Errors: [`Error::Format`] that names file, tensor and both shapes.
    pub fn require(&self, name: &str, shape: &[usize]) -> Result<&Tensor> {
        let tensor = self.get(name).ok_or_else(|| {
            let problem = match self.others.get(name) {
                Some(what) => format!("{what} stands where the tensor {name:?} should"),
                None => format!(
                    "there is no tensor {name:?} among its {}; is the config that of this file?",
                    self.len()
                ),
            };
            Error::format(&self.origin, problem)
        })?;
        if tensor.shape() != shape {
            let problem =
                format!("the tensor {name:?} has the shape {:?}, the model needs {shape:?}", tensor.shape());
            return Err(Error::format(&self.origin, problem));
        }
        Ok(tensor)
    }

    /// Whether there is a tensor of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.index.contains_key(name)
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Names and tensors in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.list.iter().map(|(name, tensor)| (&**name, tensor))
    }

    /// Names in order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.list.iter().map(|(name, _)| &**name)
    }

    /// Bytes of all tensors together.
    pub fn byte_len(&self) -> u64 {
        self.list.iter().map(|(_, tensor)| tensor.byte_len() as u64).sum()
    }

    /// The tensors whose name begins with `prefix`, without it.
    pub fn under(&self, prefix: &str) -> Result<Self> {
        let mut out = Self::new(&self.origin);
        for (name, tensor) in self.iter() {
            if let Some(rest) = name.strip_prefix(prefix) {
                out.insert(rest, tensor.clone())?;
            }
        }
        for (name, what) in &self.others {
            if let Some(rest) = name.strip_prefix(prefix) {
                out.insert_other(rest, what.clone());
            }
        }
        Ok(out)
    }

    /// The same tensors without what programs put in front of all their names: `module.`, `_orig_mod.`, `model.`, in any order.
    pub fn unwrapped(self) -> Result<Self> {
        match common_prefix(self.names()) {
            prefix if prefix.is_empty() => Ok(self),
            prefix => self.under(&prefix),
        }
    }

    /// XXH64 over names, types, shapes and values: which weights these are, whatever file holds them in whatever order.
    pub fn checksum(&self) -> Result<u64> {
        let mut sorted: Vec<_> = self.iter().collect();
        sorted.sort_unstable_by_key(|(name, _)| *name);
        let mut hash = Xxh64::new(0);
        for (name, tensor) in sorted {
            hash.update(format!("{name:?} {} {:?} ", tensor.dtype(), tensor.shape()).as_bytes());
            hash.update(&tensor.checksum()?.to_le_bytes());
        }
        Ok(hash.digest())
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    fn view(offset: u64, shape: &[usize], strides: &[u64]) -> Tensor {
        let bytes: Vec<u8> = (0..24u32).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let stored = Stored {
            source: Source::memory("view", bytes),
            offset,
            strides: Some(strides.into()),
            check: None,
        };
        Tensor::stored(DType::F32, shape, stored)
    }

    #[test]
    fn every_type_becomes_f32() {
        let cases: [(DType, Vec<u8>, f32); 10] = [
            (DType::F64, (-1.5f64).to_le_bytes().into(), -1.5),
            (DType::F32, 0.1f32.to_le_bytes().into(), 0.1),
            (DType::F16, f16::from_f32(0.25).to_le_bytes().into(), 0.25),
            (DType::Bf16, bf16::from_f32(3.0).to_le_bytes().into(), 3.0),
            (DType::I64, (-7i64).to_le_bytes().into(), -7.0),
            (DType::I32, 70_000i32.to_le_bytes().into(), 70_000.0),
            (DType::I16, (-300i16).to_le_bytes().into(), -300.0),
            (DType::I8, vec![0xff], -1.0),
            (DType::U8, vec![0xff], 255.0),
            (DType::Bool, vec![1], 1.0),
        ];
        for (dtype, bytes, expected) in cases {
            let tensor = Tensor::from_bytes(dtype, &[], bytes).unwrap();
            assert_eq!(tensor.to_f32().unwrap(), [expected], "{dtype}");
            assert_eq!(DType::from_name(dtype.name()), Some(dtype));
        }
    }

    #[test]
    fn views_are_gathered_in_row_major_order() {
        // A transposed 2x3, a thin column of a 6x4, and overlapping windows.
        assert_eq!(view(0, &[2, 3], &[1, 2]).to_f32().unwrap(), [0., 2., 4., 1., 3., 5.]);
        assert_eq!(view(4, &[6], &[4]).to_f32().unwrap(), [1., 5., 9., 13., 17., 21.]);
        assert_eq!(view(0, &[2], &[23]).to_f32().unwrap(), [0., 23.]);
        assert_eq!(view(8, &[2, 2], &[1, 1]).to_f32().unwrap(), [2., 3., 3., 4.]);
        assert!(view(0, &[0, 3], &[7, 1]).to_f32().unwrap().is_empty());
    }

    #[test]
    fn wrong_counts_and_names_are_refused() {
        assert!(Tensor::from_f32(&[2, 2], vec![0.0; 3]).is_err());
        assert!(Tensor::from_bytes(DType::F32, &[1], vec![0; 5]).is_err());
        assert!(Tensor::from_f32(&[usize::MAX, 2], vec![]).is_err());
        assert!(Tensor::from_f32(&[1], vec![1e6]).unwrap().to_f16("w").is_err());
        let mut tensors = Tensors::new("here.pth");
        tensors.insert("w", Tensor::from_f32(&[1], vec![1.0]).unwrap()).unwrap();
        assert!(tensors.insert("w", Tensor::from_f32(&[1], vec![1.0]).unwrap()).is_err());
        let message = tensors.require("w", &[2]).unwrap_err().to_string();
        assert!(
            message.contains("here.pth") && message.contains("[1]") && message.contains("[2]"),
            "{message}"
        );
        assert!(tensors.require("b", &[2]).unwrap_err().to_string().contains("no tensor \"b\""));
    }
}
