//! Files of `torch.save`: the authors' checkpoints `{optimizer, model, ema, step}` and plain state dicts, in the zip
//! format (torch 1.6 and later) and the legacy one. Read as data only: see `pickle`.
//!
//! Opening reads names, shapes and places; the elements stay in the file until a [`Tensor`](super::Tensor) is asked for them.

use std::collections::HashMap;
#[cfg(feature = "files")]
use std::path::Path;
use std::sync::Arc;

use crate::Result;
use crate::checkpoint::pickle::{self, Node, Pickle, Value};
use crate::checkpoint::source::{Budget, Source, Stream};
use crate::checkpoint::tensors::Tensors;
use crate::checkpoint::zip::{self, Zip};

mod reader;
mod state;
mod survey;

use reader::{Places, Reader};
pub use state::{Adam, AdamMoments, Ema, Found, Parameter, Part};

/// The magic number of legacy files, pickled: `0x1950a86a20f9469cfc6c`.
const LEGACY_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// The only protocol version of legacy files.
const LEGACY_PROTOCOL: i64 = 1001;
/// A file of `torch.save`. Only what is asked for has to be understood: an average or an optimizer that is not is an error of its own.
#[derive(Debug)]
pub struct TorchCheckpoint {
    /// The state dict with its buffers (`sigmas` among them), without what programs put in front of all names (`module.` of
    /// `DataParallel`); empty where the file holds nothing but an average.
    pub model: Tensors,
    /// The moving average, where there is one.
    pub ema: Option<Result<Ema>>,
    /// The optimizer's state, where there is one; the error where it is not Adam's.
    pub optimizer: Option<Result<Adam>>,
    /// The training step.
    pub step: Option<u64>,
    /// Whether the file is a zip archive (torch 1.6 and later) or in the legacy format.
    pub zip: bool,
    /// What the file holds at its top, the first 64 of it, and what each is taken for.
    pub found: Vec<Found>,
}

/// Whether the bytes begin as a file of `torch.save` does.
pub(super) fn is_torch(head: &[u8]) -> bool {
    zip::is_zip(head) || head.starts_with(&[0x80])
}

/// Opens a file of `torch.save`. Errors: [`crate::Error::Io`]; [`crate::Error::Format`] with the reason. Nothing in the file is run.
#[cfg(feature = "files")]
pub fn open(path: impl AsRef<Path>) -> Result<TorchCheckpoint> {
    read(&Source::open(path)?)
}

/// [`open`], from any source.
pub fn read(source: &Arc<Source>) -> Result<TorchCheckpoint> {
    let mut head = [0; 4];
    let n = source.len().min(4) as usize;
    source.read_at(0, &mut head[..n])?;
    let mut budget = Budget::for_file(source.len());
    let (pickle, places) = if zip::is_zip(&head) {
        open_zip(source, &mut budget)?
    } else if head[0] == 0x80 {
        open_legacy(source, &mut budget)?
    } else {
        return Err(
            source.bad("it begins neither as a zip archive nor as a pickle; it is no file of torch.save")
        );
    };
    let zip = matches!(places, Places::Zip { .. });
    Reader::new(source, &pickle, &places, budget).checkpoint(zip)
}

fn open_zip(source: &Arc<Source>, budget: &mut Budget) -> Result<(Pickle, Places)> {
    let zip = Zip::open(source, budget)?;
    let pickles: Vec<&str> = zip.names().filter_map(|name| name.strip_suffix("data.pkl")).take(2).collect();
    let prefix = match *pickles {
        [prefix] => prefix.to_string(),
        [] => return Err(source.bad("the zip archive holds no data.pkl; it is no file of torch.save")),
        _ => return Err(source.bad("the zip archive holds two files data.pkl")),
    };
    if zip.get(&format!("{prefix}constants.pkl")).is_some() {
        return Err(source
            .bad("it is a TorchScript archive (code), not a state dict; save `model.state_dict()` instead"));
    }
    if let Some(order) = zip.read_small(&format!("{prefix}byteorder"), 16)?
        && order != b"little"
    {
        return Err(source
            .bad(format!("its byte order is {:?}, only little is read", String::from_utf8_lossy(&order))));
    }
    let entry = zip.get(&format!("{prefix}data.pkl")).ok_or_else(|| source.bad("data.pkl is gone"))?;
    if let Some(check) = &entry.check {
        check.verify(source)?;
    }
    let mut stream = Stream::new(source, entry.offset, entry.len)?;
    let pickle = pickle::read(source, &mut stream, budget, "data.pkl")?;
    Ok((pickle, Places::Zip { zip, prefix }))
}

/// Five pickles (magic number, protocol, system, object, storage keys), then each storage: its length as i64, its elements.
fn open_legacy(source: &Arc<Source>, budget: &mut Budget) -> Result<(Pickle, Places)> {
    let mut stream = Stream::new(source, 0, source.len())?;
    let magic = pickle::read(source, &mut stream, budget, "the magic number")?;
    if !matches!(magic.node(magic.root), Some(Node::Bytes(bytes)) if **bytes == LEGACY_MAGIC) {
        return Err(source.bad(
            "it is a pickle, but not one of torch.save; only state dicts written by torch.save are read",
        ));
    }
    let protocol = pickle::read(source, &mut stream, budget, "the protocol version")?;
    if protocol.root != Value::Int(LEGACY_PROTOCOL) {
        return Err(
            source.bad(format!("its legacy protocol is {:?}, only {LEGACY_PROTOCOL} is read", protocol.root))
        );
    }
    let system = pickle::read(source, &mut stream, budget, "the system's description")?;
    if system.field(system.root, "little_endian") != Some(Value::Bool(true)) {
        return Err(source.bad("it was written by a big-endian machine"));
    }
    let object = pickle::read(source, &mut stream, budget, "the object")?;
    let keys = pickle::read(source, &mut stream, budget, "the list of storages")?;
    let Some(items) = keys.items(keys.root) else {
        return Err(source.bad("its list of storages is no list"));
    };

    let sizes: HashMap<&str, u64> =
        object.storages().map(|storage| (&*storage.key, storage.element.size() as u64)).collect();
    let mut places = HashMap::new();
    let mut at = stream.position();
    for key in items {
        let key = keys
            .str(*key)
            .ok_or_else(|| source.bad("its list of storages holds something else than strings"))?;
        let size = sizes.get(key).ok_or_else(|| {
            source
                .bad(format!("no tensor uses the storage {key:?}, so where the next one begins is not known"))
        })?;
        let mut count = [0; 8];
        source.read_at(at, &mut count)?;
        let count = u64::from_le_bytes(count);
        let len = count.checked_mul(*size).filter(|len| source.within(at + 8, *len).is_ok());
        let len = len.ok_or_else(|| {
            source.bad(format!(
                "the storage {key:?} of {count} elements at byte {at} reaches beyond the file's end"
            ))
        })?;
        budget.charge(key.len() as u64 + 128).map_err(|problem| source.bad(problem))?;
        places.insert(key.into(), (at + 8, len));
        at += 8 + len;
    }
    Ok((object, Places::Legacy(places)))
}
