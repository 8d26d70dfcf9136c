//! safetensors, in and out: 8 bytes of header length, a JSON header with name, type, shape and place of each tensor, the bytes. The
//! format is described at <https://huggingface.co/docs/safetensors>. The header is checked against the file before any of it is used.

use std::fmt;
#[cfg(feature = "files")]
use std::path::Path;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

#[cfg(feature = "files")]
use crate::Error;
use crate::Result;
use crate::checkpoint::dtype::DType;
#[cfg(feature = "files")]
use crate::checkpoint::files::{Files, OsFiles, Staged, replace};
use crate::checkpoint::source::{Budget, Check, Source, Stream, Sum};
use crate::checkpoint::tensors::{Stored, Tensor, Tensors, elements};

/// The reference implementation's own limit.
const MAX_HEADER: u64 = 100_000_000;
/// The one name in a header that is no tensor's.
const METADATA: &str = "__metadata__";
/// Axes of a tensor.
const MAX_AXES: usize = 16;

/// Free text beside the tensors, in order.
pub type Metadata = Vec<(String, String)>;

/// A safetensors file: its free text and its tensors, whose elements stay in the file until they are asked for.
#[derive(Debug)]
pub struct Safetensors {
    /// `__metadata__`.
    pub metadata: Metadata,
    /// In the header's order.
    pub tensors: Tensors,
}

/// Opens a file. Errors: [`Error::Io`]; [`Error::Format`] with what is wrong in the header.
#[cfg(feature = "files")]
pub fn open(path: impl AsRef<Path>) -> Result<Safetensors> {
    read(&Source::open(path)?)
}

/// [`open`], from any source.
pub fn read(source: &Arc<Source>) -> Result<Safetensors> {
    let header = Header::read(source)?;
    let tensors = header.tensors(source, |_| None)?;
    Ok(Safetensors { metadata: header.metadata, tensors })
}

/// Whether the bytes begin a safetensors file: a length below 2^32 and a brace.
pub(super) fn is_safetensors(head: &[u8]) -> bool {
    matches!(head, [_, _, _, _, 0, 0, 0, 0, b'{', ..])
}

/// Name, type, shape and place of a tensor; `begin..end` in bytes after the header.
#[derive(Debug)]
pub(super) struct Info {
    pub(super) name: Arc<str>,
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    pub(super) begin: u64,
    pub(super) end: u64,
}

/// A header that has been checked against its file.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) metadata: Metadata,
    pub(super) infos: Vec<Info>,
    /// Where the bytes begin.
    data: u64,
}

impl Header {
    pub(super) fn read(source: &Source) -> Result<Self> {
        let mut len = [0; 8];
        source.read_at(0, &mut len)?;
        let len = u64::from_le_bytes(len);
        if len > MAX_HEADER || len > source.len() - 8 {
            return Err(source.bad(format!(
                "its header should have {len} bytes; the file has {}, at most {MAX_HEADER} are allowed. It is no safetensors file, or truncated",
                source.len()
            )));
        }
        let mut budget = Budget::for_file(source.len());
        let mut parser = serde_json::Deserializer::from_reader(Stream::new(source, 8, len)?);
        let parsed =
            HeaderSeed(&mut budget).deserialize(&mut parser).and_then(|parsed| parser.end().map(|()| parsed));
        let (metadata, infos) = parsed.map_err(|error| source.bad(format!("its header: {error}")))?;
        let header = Self { metadata, infos, data: 8 + len };
        header.check(source)?;
        Ok(header)
    }

    /// The tensors must fill the rest of the file exactly, without overlap, as the format demands.
    fn check(&self, source: &Source) -> Result<()> {
        let available = source.len() - self.data;
        let mut places: Vec<(u64, u64)> = Vec::with_capacity(self.infos.len());
        for info in &self.infos {
            let bytes = elements(&info.shape).and_then(|n| n.checked_mul(info.dtype.size()));
            if info.end > available || info.end.checked_sub(info.begin) != bytes.map(|n| n as u64) {
                return Err(source.bad(format!(
                    "the tensor {:?} of shape {:?} and type {} lies at {}..{} of {available} bytes, which does not fit",
                    info.name, info.shape, info.dtype, info.begin, info.end
                )));
            }
            places.push((info.begin, info.end));
        }
        places.sort_unstable();
        let mut at = 0;
        for (begin, end) in places {
            if begin != at {
                return Err(source
                    .bad(format!("its tensors overlap or leave a hole at byte {begin} after the header")));
            }
            at = end;
        }
        if at != available {
            return Err(source.bad(format!(
                "its tensors take {at} bytes, the file has {available}; it is truncated or damaged"
            )));
        }
        Ok(())
    }

    /// The tensors, each with the XXH64 that `checksum` gives for its name.
    pub(super) fn tensors(
        &self,
        source: &Arc<Source>,
        checksum: impl Fn(&str) -> Option<u64>,
    ) -> Result<Tensors> {
        let mut tensors = Tensors::new(source.path());
        for info in &self.infos {
            let offset = self.data + info.begin;
            let check = checksum(&info.name)
                .map(|sum| Check::new(info.name.clone(), offset, info.end - info.begin, Sum::Xxh64(sum)));
            let stored = Stored { source: source.clone(), offset, strides: None, check };
            tensors.insert(info.name.clone(), Tensor::stored(info.dtype, &info.shape, stored))?;
        }
        Ok(tensors)
    }
}

struct HeaderSeed<'a>(&'a mut Budget);
struct MetadataSeed<'a>(&'a mut Budget);
struct InfoSeed(Arc<str>);
struct ShapeSeed;

impl<'de> DeserializeSeed<'de> for HeaderSeed<'_> {
    type Value = (Metadata, Vec<Info>);
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HeaderSeed<'_> {
    type Value = (Metadata, Vec<Info>);
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a map of tensors")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut metadata, mut infos) = (Metadata::new(), Vec::new());
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA {
                metadata = map.next_value_seed(MetadataSeed(self.0))?;
                continue;
            }
            // The entry here, its twin in `Tensors`, its place in their map; lists double as they grow.
            self.0.charge(2 * name.len() as u64 + 512).map_err(A::Error::custom)?;
            infos.push(map.next_value_seed(InfoSeed(name.into()))?);
        }
        Ok((metadata, infos))
    }
}

impl<'de> DeserializeSeed<'de> for MetadataSeed<'_> {
    type Value = Metadata;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Metadata, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MetadataSeed<'_> {
    type Value = Metadata;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a map of strings")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
        let mut metadata = Metadata::new();
        while let Some((key, value)) = map.next_entry::<String, String>()? {
            self.0.charge((key.len() + value.len()) as u64 + 192).map_err(A::Error::custom)?;
            metadata.push((key, value));
        }
        Ok(metadata)
    }
}

impl<'de> DeserializeSeed<'de> for InfoSeed {
    type Value = Info;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Info, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for InfoSeed {
    type Value = Info;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("dtype, shape and data_offsets of a tensor")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Info, A::Error> {
        let (mut dtype, mut shape, mut place) = (None, None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "dtype" => {
                    let name: String = map.next_value()?;
                    let known = DType::from_name(&name).ok_or_else(|| {
                        A::Error::custom(format!(
                            "the tensor {:?} has the type {name:?}, which is not read",
                            self.0
                        ))
                    })?;
                    dtype = Some(known);
                }
                "shape" => shape = Some(map.next_value_seed(ShapeSeed)?),
                "data_offsets" => place = Some(map.next_value::<[u64; 2]>()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        match (dtype, shape, place) {
            (Some(dtype), Some(shape), Some([begin, end])) => {
                Ok(Info { name: self.0, dtype, shape, begin, end })
            }
            _ => Err(A::Error::custom(format!("the tensor {:?} lacks dtype, shape or data_offsets", self.0))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for ShapeSeed {
    type Value = Vec<usize>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<usize>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ShapeSeed {
    type Value = Vec<usize>;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of sizes")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<usize>, A::Error> {
        let mut shape = Vec::new();
        while let Some(size) = seq.next_element()? {
            if shape.len() == MAX_AXES {
                return Err(A::Error::custom(format!("a tensor has more than {MAX_AXES} axes")));
            }
            shape.push(size);
        }
        Ok(shape)
    }
}

/// Writes a file under a temporary name, syncs and renames it. Other programs of the field expect `("format", "pt")` among `metadata`.
///
/// Errors: [`Error::Io`], [`Error::StorageFull`]; those of reading the tensors.
#[cfg(feature = "files")]
pub fn save(path: impl AsRef<Path>, metadata: &[(String, String)], tensors: &Tensors) -> Result<()> {
    let files = OsFiles;
    let staged = stage(&files, path.as_ref(), metadata, tensors)?;
    replace(&files, staged, path.as_ref())
}

/// Writes a file beside `path` and syncs it.
#[cfg(feature = "files")]
pub(super) fn stage(
    files: &dyn Files,
    path: &Path,
    metadata: &[(String, String)],
    tensors: &Tensors,
) -> Result<Staged> {
    let file = Outgoing::new(metadata, tensors)?;
    crate::checkpoint::files::stage(files, path, file.size(), |out| {
        file.write(|bytes| out.write_all(bytes).map_err(Error::io(path)))
    })
}

/// The file in memory.
#[cfg(fuzzing)]
pub(super) fn to_bytes(metadata: &[(String, String)], tensors: &Tensors) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    Outgoing::new(metadata, tensors)?.write(|part| {
        bytes.extend_from_slice(part);
        Ok(())
    })?;
    Ok(bytes)
}

/// A file that is about to be written.
#[cfg(any(feature = "files", fuzzing))]
struct Outgoing<'a> {
    header: String,
    list: Vec<(&'a str, &'a Tensor)>,
    /// In which the bytes lie.
    order: Vec<usize>,
}

#[cfg(any(feature = "files", fuzzing))]
impl<'a> Outgoing<'a> {
    fn new(metadata: &[(String, String)], tensors: &'a Tensors) -> Result<Self> {
        // Wide elements first, so that each tensor lies on a multiple of its element's size.
        let mut order: Vec<usize> = (0..tensors.len()).collect();
        let list: Vec<(&str, &Tensor)> = tensors.iter().collect();
        order.sort_by_key(|i| std::cmp::Reverse(list[*i].1.dtype().size()));
        let header = header_text(metadata, &list, &order)?;
        Ok(Self { header, list, order })
    }

    fn size(&self) -> u64 {
        8 + self.header.len() as u64
            + self.list.iter().map(|(_, tensor)| tensor.byte_len() as u64).sum::<u64>()
    }

    fn write(&self, mut put: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        put(&(self.header.len() as u64).to_le_bytes())?;
        put(self.header.as_bytes())?;
        self.order.iter().try_for_each(|i| self.list[*i].1.chunks(&mut put))
    }
}

/// The header: tensors in the order of `list`, their bytes in the order of `order`.
#[cfg(feature = "files")]
fn header_text(metadata: &[(String, String)], list: &[(&str, &Tensor)], order: &[usize]) -> Result<String> {
    use serde_json::{Map, Value, json};
    let mut places = vec![[0; 2]; list.len()];
    let mut at = 0u64;
    for i in order {
        let end = at + list[*i].1.byte_len() as u64;
        places[*i] = [at, end];
        at = end;
    }
    let mut header = Map::new();
    if !metadata.is_empty() {
        let text = metadata.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str())));
        header.insert(METADATA.into(), Value::Object(text.collect()));
    }
    for ((name, tensor), place) in list.iter().zip(places) {
        if *name == METADATA {
            return Err(Error::invalid(
                "tensor",
                name,
                "safetensors keeps this name for itself; choose another",
            ));
        }
        let info = json!({"dtype": tensor.dtype().name(), "shape": tensor.shape(), "data_offsets": place});
        header.insert((*name).into(), info);
    }
    let mut text = Value::Object(header).to_string();
    // The bytes begin on a multiple of 8.
    text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
    if text.len() as u64 > MAX_HEADER {
        let problem = format!("the names of {} tensors exceed the format's {MAX_HEADER} bytes", list.len());
        return Err(Error::invalid("safetensors header", text.len(), problem));
    }
    Ok(text)
}
