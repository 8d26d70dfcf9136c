//! NumPy's `.npy` arrays and `.npz` archives (NEP 1; format versions 1.0 to 3.0).
//!
//! Written here rather than taken from a crate. npyz, the maintained one, reads more (structures, complex numbers, strings) than
//! images need, and gives an iterator over records; we want one slice of one of twelve types, refused where header and length do not
//! fit, with bounds on the header, the dimensions and what an archive unpacks to. That is 150 lines, fuzzed.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::zip::{ZipEntry, ZipReader, ZipWriter};
use crate::limits::{ARRAY_BYTES, DIMENSIONS, NPY_HEADER_BYTES, Unpacking, shape};
use crate::{Error, Result};

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// The numbers of an array, in the type of the file.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are NumPy's own")]
pub enum NpyData {
    U8(Vec<u8>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

/// An array in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct NpyArray {
    /// The extents, slowest first; empty for a single number.
    pub shape: Vec<usize>,
    /// The numbers.
    pub data: NpyData,
}

impl NpyData {
    fn descr(&self) -> &'static str {
        match self {
            Self::U8(_) => "|u1",
            Self::I32(_) => "<i4",
            Self::I64(_) => "<i8",
            Self::F32(_) => "<f4",
            Self::F64(_) => "<f8",
        }
    }

    /// How many numbers.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers as f32, rounded.
    pub fn to_f32(&self) -> Vec<f32> {
        match self {
            Self::U8(v) => v.iter().map(|&x| f32::from(x)).collect(),
            Self::I32(v) => v.iter().map(|&x| x as f32).collect(),
            Self::I64(v) => v.iter().map(|&x| x as f32).collect(),
            Self::F32(v) => v.clone(),
            Self::F64(v) => v.iter().map(|&x| x as f32).collect(),
        }
    }

    /// The numbers as f64, rounded (exact but for large i64).
    pub fn to_f64(&self) -> Vec<f64> {
        match self {
            Self::U8(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Self::I32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Self::I64(v) => v.iter().map(|&x| x as f64).collect(),
            Self::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Self::F64(v) => v.clone(),
        }
    }

    fn to_le_bytes(&self) -> Vec<u8> {
        match self {
            Self::U8(v) => v.clone(),
            Self::I32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::I64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::F64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }
}

/// The bytes before the numbers: format 1.0, padded so that the numbers begin on a 64-byte boundary.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] where the shape does not give the number of values.
fn head(array: &NpyArray) -> io::Result<Vec<u8>> {
    if array.shape.iter().product::<usize>() != array.data.len() {
        let problem = format!("shape {} does not hold {} values", shape(&array.shape), array.data.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    let dims: Vec<String> = array.shape.iter().map(usize::to_string).collect();
    // Python writes a tuple of one with a comma behind it.
    let comma = if dims.len() == 1 { "," } else { "" };
    let mut dict = format!(
        "{{'descr': '{}', 'fortran_order': False, 'shape': ({}{comma}), }}",
        array.data.descr(),
        dims.join(", ")
    );
    while (10 + dict.len() + 1) % 64 != 0 {
        dict.push(' ');
    }
    dict.push('\n');
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    let len = u16::try_from(dict.len()).map_err(|_| io::Error::other("the array has too many dimensions"))?;
    bytes.extend(len.to_le_bytes());
    bytes.extend(dict.as_bytes());
    Ok(bytes)
}

/// Writes one array as `.npy`.
pub fn write_npy(out: &mut impl Write, array: &NpyArray) -> io::Result<()> {
    out.write_all(&head(array)?)?;
    out.write_all(&array.data.to_le_bytes())
}

/// Writes named arrays as `.npz`, stored.
pub fn write_npz(out: impl Write, arrays: &[(&str, &NpyArray)]) -> io::Result<()> {
    let mut zip = ZipWriter::new(out);
    for (name, array) in arrays {
        zip.add(&format!("{name}.npy"), &[&head(array)?, &array.data.to_le_bytes()])?;
    }
    zip.finish()?.flush()
}

/// Reads a `.npy` file from its bytes; `path` names it in errors.
///
/// # Errors
/// [`Error::Format`] where the header is damaged, the type is not one of u8, i32, i64, f16, f32, f64, bool or a
/// smaller integer (objects are never unpickled), or the size differs from what the shape says.
pub fn read_npy(bytes: &[u8], path: &Path) -> Result<NpyArray> {
    parse(bytes).map_err(|problem| Error::format(path, format!("not a readable .npy array: {problem}")))
}

/// The arrays of a `.npz` archive, of which only the wanted are unpacked.
pub struct NpzReader<R> {
    zip: ZipReader<R>,
    path: PathBuf,
    left: Unpacking,
}

impl<R: Read + Seek> NpzReader<R> {
    /// Reads the directory; `path` names the file in errors.
    ///
    /// # Errors
    /// As [`ZipReader::open`].
    pub fn open(mut inner: R, path: &Path) -> Result<Self> {
        let packed = inner.seek(SeekFrom::End(0)).map_err(Error::io(path))?;
        // The names and their places take about as much memory as they take in the file.
        let zip = ZipReader::open_within(inner, path, packed.saturating_mul(4).max(1 << 20))?;
        Ok(Self { zip, path: path.into(), left: Unpacking::of(packed) })
    }

    /// The names of the arrays, in the directory's order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.zip.entries().iter().filter_map(|entry| entry.name.strip_suffix(".npy"))
    }

    /// Unpacks the array of that name.
    ///
    /// # Errors
    /// As [`read_npy`] and [`ZipReader::read`]; [`Error::Format`] where there is none, and where the arrays that were read unpack to a
    /// multiple of the file's size that honest ones do not.
    pub fn read(&mut self, name: &str) -> Result<NpyArray> {
        let is_wanted = |entry: &ZipEntry| entry.name.strip_suffix(".npy") == Some(name);
        let Some(index) = self.zip.entries().iter().position(is_wanted) else {
            return Err(Error::format(&self.path, format!("there is no array {name:?}")));
        };
        let size = self.zip.entries()[index].size;
        self.left.take(size).map_err(|problem| Error::format(&self.path, problem))?;
        let bytes = self.zip.read(index, ARRAY_BYTES)?;
        parse(&bytes).map_err(|problem| {
            Error::format(&self.path, format!("array {name:?} is not readable: {problem}"))
        })
    }
}

/// Reads every array of a `.npz` file, by name in the directory's order.
///
/// # Errors
/// As [`NpzReader`].
pub fn read_npz(inner: impl Read + Seek, path: &Path) -> Result<Vec<(String, NpyArray)>> {
    let mut file = NpzReader::open(inner, path)?;
    let names: Vec<String> = file.names().map(str::to_owned).collect();
    names.into_iter().map(|name| file.read(&name).map(|array| (name, array))).collect()
}

/// Reads a `.npy` file of `length` bytes; nothing but its header where the length is not what the header needs.
///
/// # Errors
/// As [`read_npy`]; [`Error::Io`].
pub fn read_npy_file(mut file: impl Read, length: u64, path: &Path) -> Result<NpyArray> {
    let mut bytes = Vec::new();
    let mut read = |most: u64, bytes: &mut Vec<u8>| {
        (&mut file).take(most).read_to_end(bytes).map(drop).map_err(Error::io(path))
    };
    // Magic bytes, version, length of the header, header.
    read(12 + NPY_HEADER_BYTES as u64, &mut bytes)?;
    let unreadable = |problem| Error::format(path, format!("not a readable .npy array: {problem}"));
    let header = Header::parse(&bytes).map_err(unreadable)?;
    let needed = (header.at as u64).saturating_add(header.body as u64);
    if needed != length || length > ARRAY_BYTES {
        let problem =
            format!("it has {length} bytes, its header needs {needed}, at most {ARRAY_BYTES} are read");
        return Err(unreadable(problem));
    }
    read(length.saturating_sub(bytes.len() as u64), &mut bytes)?;
    parse(&bytes).map_err(unreadable)
}

/// What stands before the numbers.
struct Header<'a> {
    descr: &'a str,
    fortran: bool,
    shape: Vec<usize>,
    /// How many numbers there are.
    count: usize,
    /// Where they begin.
    at: usize,
    /// Bytes that they take.
    body: usize,
}

fn parse(bytes: &[u8]) -> Result<NpyArray, String> {
    let header = Header::parse(bytes)?;
    let data = decode(header.descr, &bytes[header.at..], header.count)?;
    let array = NpyArray { shape: header.shape, data };
    Ok(if header.fortran { to_row_major(array) } else { array })
}

impl<'a> Header<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let rest = bytes.strip_prefix(MAGIC).ok_or("the magic bytes are missing")?;
        let (version, rest) = rest.split_first_chunk::<2>().ok_or("it ends in the version")?;
        let (len, rest) = match version {
            [1, 0] => rest.split_first_chunk::<2>().map(|(n, r)| (u16::from_le_bytes(*n) as usize, r)),
            [2 | 3, 0] => rest.split_first_chunk::<4>().map(|(n, r)| (u32::from_le_bytes(*n) as usize, r)),
            [a, b] => return Err(format!("format version {a}.{b}; 1.0 to 3.0 are read")),
        }
        .ok_or("it ends in the header's length")?;
        if len > NPY_HEADER_BYTES {
            return Err(format!("a header of {len} bytes; NumPy itself reads at most {NPY_HEADER_BYTES}"));
        }
        let (dict, numbers) = rest.split_at_checked(len).ok_or("it ends in the header")?;
        let dict = std::str::from_utf8(dict).map_err(|_| "the header is not text")?;
        let descr = value_of(dict, "descr").and_then(quoted).ok_or("the header has no plain 'descr'")?;
        let fortran = match value_of(dict, "fortran_order") {
            Some(v) if v.starts_with("True") => true,
            Some(v) if v.starts_with("False") => false,
            _ => return Err("the header has no 'fortran_order'".into()),
        };
        let shape = value_of(dict, "shape").and_then(tuple).ok_or("the header has no 'shape'")?;
        if shape.len() > DIMENSIONS {
            return Err(format!("{} dimensions; at most {DIMENSIONS} are read", shape.len()));
        }
        let overflows = "the shape overflows";
        let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).ok_or(overflows)?;
        let body = count.checked_mul(width(descr)?).ok_or(overflows)?;
        Ok(Self { descr, fortran, shape, count, at: bytes.len() - numbers.len(), body })
    }
}

/// Bytes of a number of a type that is read.
fn width(descr: &str) -> Result<usize, String> {
    let (order, kind) = descr.split_at_checked(1).ok_or("an empty 'descr'")?;
    let supported =
        matches!(kind, "u1" | "b1" | "i1" | "u2" | "i2" | "u4" | "i4" | "u8" | "i8" | "f2" | "f4" | "f8");
    if !supported || !matches!(order, "<" | ">" | "|" | "=") {
        let short: String = descr.chars().take(40).collect();
        return Err(format!("type {short:?} is not read (numbers only, objects never)"));
    }
    Ok(usize::from(kind.as_bytes()[1] - b'0'))
}

/// The text behind `'key':` in the header's dictionary.
fn value_of<'a>(dict: &'a str, key: &str) -> Option<&'a str> {
    let at = dict.find(&format!("'{key}'"))? + key.len() + 2;
    dict[at..].trim_start().strip_prefix(':').map(str::trim_start)
}

fn quoted(text: &str) -> Option<&str> {
    text.strip_prefix('\'')?.split_once('\'').map(|(inside, _)| inside)
}

fn tuple(text: &str) -> Option<Vec<usize>> {
    let (inside, _) = text.strip_prefix('(')?.split_once(')')?;
    let items = inside.split(',').map(str::trim).filter(|s| !s.is_empty());
    // Python 2 wrote long integers as 3L.
    items.map(|s| s.trim_end_matches('L').parse().ok()).collect()
}

fn decode(descr: &str, body: &[u8], count: usize) -> Result<NpyData, String> {
    let width = width(descr)?;
    let (order, kind) = descr.split_at(1);
    let expected = count.checked_mul(width).ok_or("the shape overflows")?;
    if body.len() != expected {
        return Err(format!("{} bytes of numbers where the shape needs {expected}", body.len()));
    }
    let mut swapped;
    let mut body = body;
    if order == ">" && width > 1 {
        swapped = body.to_vec();
        swapped.chunks_exact_mut(width).for_each(<[u8]>::reverse);
        body = &swapped;
    }
    /// Numbers of one width.
    fn numbers<const N: usize, T>(body: &[u8], f: impl Fn([u8; N]) -> T) -> Vec<T> {
        body.as_chunks::<N>().0.iter().map(|b| f(*b)).collect()
    }
    Ok(match kind {
        "u1" | "b1" => NpyData::U8(body.to_vec()),
        "i1" => NpyData::I32(numbers(body, |b: [u8; 1]| i32::from(i8::from_le_bytes(b)))),
        "u2" => NpyData::I32(numbers(body, |b| i32::from(u16::from_le_bytes(b)))),
        "i2" => NpyData::I32(numbers(body, |b| i32::from(i16::from_le_bytes(b)))),
        "u4" => NpyData::I64(numbers(body, |b| i64::from(u32::from_le_bytes(b)))),
        "i4" => NpyData::I32(numbers(body, i32::from_le_bytes)),
        "u8" => NpyData::I64(numbers(body, |b| u64::from_le_bytes(b) as i64)),
        "i8" => NpyData::I64(numbers(body, i64::from_le_bytes)),
        "f2" => NpyData::F32(numbers(body, |b| half::f16::from_le_bytes(b).to_f32())),
        "f4" => NpyData::F32(numbers(body, f32::from_le_bytes)),
        _ => NpyData::F64(numbers(body, f64::from_le_bytes)),
    })
}

fn to_row_major(array: NpyArray) -> NpyArray {
    /// Column-major to row-major: walks the row-major order and steps through the column-major one.
    fn reorder<T: Copy>(shape: &[usize], v: &[T]) -> Vec<T> {
        // An extent of one never steps.
        let shape: Vec<usize> = shape.iter().copied().filter(|&d| d != 1).collect();
        let strides: Vec<usize> =
            shape.iter().scan(1, |stride, &d| Some(std::mem::replace(stride, *stride * d))).collect();
        let mut index = vec![0usize; shape.len()];
        let mut out = Vec::with_capacity(v.len());
        let mut from = 0;
        while out.len() < v.len() {
            out.push(v[from]);
            for axis in (0..shape.len()).rev() {
                index[axis] += 1;
                from += strides[axis];
                if index[axis] < shape[axis] {
                    break;
                }
                from -= strides[axis] * shape[axis];
                index[axis] = 0;
            }
        }
        out
    }
    let s = &array.shape;
    let data = match &array.data {
        NpyData::U8(v) => NpyData::U8(reorder(s, v)),
        NpyData::I32(v) => NpyData::I32(reorder(s, v)),
        NpyData::I64(v) => NpyData::I64(reorder(s, v)),
        NpyData::F32(v) => NpyData::F32(reorder(s, v)),
        NpyData::F64(v) => NpyData::F64(reorder(s, v)),
    };
    NpyArray { data, ..array }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(shape: &[usize], data: NpyData) -> NpyArray {
        NpyArray { shape: shape.to_vec(), data }
    }

    fn npy(array: &NpyArray) -> Vec<u8> {
        let mut out = Vec::new();
        write_npy(&mut out, array).unwrap();
        out
    }

    /// A file as NumPy writes it: the header padded to 128 bytes in all.
    fn numpy_file(dict: &str, body: &[u8]) -> Vec<u8> {
        let mut out = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        out.extend(format!("{dict:<117}\n").as_bytes());
        out.extend(body);
        out
    }

    #[test]
    fn known_bytes() {
        // numpy.save of numpy.array([1, -2], dtype="float32"), and of a scalar.
        let body = [0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0];
        let file = numpy_file("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", &body);
        let ours = array(&[2], NpyData::F32(vec![1.0, -2.0]));
        assert_eq!(npy(&ours), file);
        assert_eq!(parse(&file).unwrap(), ours);
        let file = numpy_file("{'descr': '|u1', 'fortran_order': False, 'shape': (), }", &[9]);
        assert_eq!(npy(&array(&[], NpyData::U8(vec![9]))), file);
    }

    #[test]
    fn orders_and_types() {
        let file = numpy_file(
            "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }",
            &[0, 1, 0, 4, 0, 2, 0, 5, 0, 3, 0xff, 0xfa],
        );
        assert_eq!(parse(&file).unwrap(), array(&[2, 3], NpyData::I32(vec![1, 2, 3, 4, 5, -6])));
        let file = numpy_file("{'descr': '<f2', 'fortran_order': False, 'shape': (1, 1), }", &[0, 0x3e]);
        assert_eq!(parse(&file).unwrap(), array(&[1, 1], NpyData::F32(vec![1.5])));
    }

    #[test]
    fn hostile_headers_are_errors() {
        for (dict, body) in [
            ("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", &[0u8; 8][..]),
            ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", &[0; 4]),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 4), }", &[0; 4]),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,), }", &[]),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", &[0; 4]),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", &[0; 4]),
            ("{'descr': '<f4', 'shape': (1,), }", &[0; 4]),
            ("{'descr': '\u{e4}4', 'fortran_order': False, 'shape': (1,), }", &[0; 4]),
            ("", &[]),
        ] {
            assert!(parse(&numpy_file(dict, body)).is_err(), "{dict}");
        }
        let good = npy(&array(&[2], NpyData::I64(vec![1, 2])));
        for cut in 0..good.len() {
            assert!(parse(&good[..cut]).is_err());
        }
        assert!(write_npy(&mut Vec::new(), &array(&[3], NpyData::U8(vec![1]))).is_err());
    }

    #[test]
    fn npz_round_trip() {
        let mu = array(&[3], NpyData::F64(vec![0.5, -1.0, 2.0]));
        let x = array(&[1, 2, 2, 1], NpyData::U8(vec![0, 1, 2, 255]));
        let mut file = Vec::new();
        write_npz(&mut file, &[("mu", &mu), ("x", &x)]).unwrap();
        let got = read_npz(io::Cursor::new(&file), Path::new("m.npz")).unwrap();
        assert_eq!(got, [("mu".to_string(), mu), ("x".to_string(), x)]);
    }
}
