//! Archives of numpy arrays, one for each parameter: what `np.savez` makes of a state dict or of JAX's parameters.

use std::sync::Arc;

use super::Contents;
use crate::checkpoint::{Source, Tensor, Tensors};
use crate::error::Result;
use crate::formats::npy::{NpyData, NpzReader};

/// `.npz`.
#[derive(Debug)]
pub(super) struct Format;

/// Where the name of a zip's first entry begins, and its length stands.
const NAME: usize = 30;
const LENGTH: usize = 26;

impl super::Format for Format {
    fn name(&self) -> &'static str {
        ".npz"
    }

    /// A zip whose first entry is an array: `torch.save` makes zips too, of other entries.
    fn recognises(&self, head: &[u8]) -> bool {
        let length =
            head.get(LENGTH..LENGTH + 2).map_or(0, |b| usize::from(u16::from_le_bytes([b[0], b[1]])));
        let name = head.get(NAME..).map(|rest| &rest[..length.min(rest.len())]);
        // A longer name is cut off, and is that of an array where it is not one of `torch.save`.
        let cut = length > head.len().saturating_sub(NAME);
        head.starts_with(b"PK\x03\x04")
            && name.is_some_and(|name| name.ends_with(b".npy") || cut && !name.contains(&b'/'))
    }

    fn read(&self, source: &Arc<Source>) -> Result<Contents> {
        let mut reader = NpzReader::open(source.reader(), source.path())?;
        let names: Vec<String> = reader.names().map(str::to_owned).collect();
        let mut tensors = Tensors::new(source.path());
        let (mut config, mut step) = (None, None);
        for name in names {
            let array = reader.read(&name)?;
            match (name.as_str(), &array.data) {
                ("step", _) if array.data.len() == 1 => {
                    step = array.data.to_f64().first().map(|&step| step as u64)
                }
                ("config", NpyData::U8(text)) => config = String::from_utf8(text.clone()).ok(),
                _ => tensors.insert(name, Tensor::from_f32(&array.shape, array.data.to_f32())?)?,
            }
        }
        Ok(Contents { config, step, ..Contents::new(".npz", tensors) })
    }
}
