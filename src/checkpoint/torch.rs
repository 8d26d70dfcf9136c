//! Files of `torch.save`: the authors' checkpoints `{optimizer, model, ema, step}` and plain state dicts, in the zip
//! format (torch 1.6 and later) and the legacy one. Read as data only: see `pickle`.
//!
//! Opening reads names, shapes and places; the elements stay in the file until a [`Tensor`] is asked for them.

use std::collections::{BTreeMap, HashMap};
#[cfg(feature = "files")]
use std::path::Path;
use std::sync::Arc;

use crate::Result;
use crate::checkpoint::pickle::{self, Node, Pickle, Storage, TensorRef, Value};
use crate::checkpoint::source::{Budget, Check, Source, Stream};
use crate::checkpoint::tensors::{Stored, Tensor, Tensors, elements};
use crate::checkpoint::zip::{self, Zip};

mod state;

pub use state::{Adam, AdamMoments, Ema, Parameter};

/// The magic number of legacy files, pickled: `0x1950a86a20f9469cfc6c`.
const LEGACY_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// The only protocol version of legacy files.
const LEGACY_PROTOCOL: i64 = 1001;
/// Bytes of a tensor's name; the longest of the authors' networks has about 40.
const MAX_NAME: usize = 1024;
/// Fields of an optimizer's state of one parameter.
const MAX_FIELDS: usize = 32;

/// A file of `torch.save`.
#[derive(Debug)]
pub struct TorchCheckpoint {
    /// The state dict with its buffers (`sigmas` among them), without the prefix `module.` of `DataParallel`.
    pub model: Tensors,
    /// The moving average, where the file is a training checkpoint.
    pub ema: Option<Ema>,
    /// Adam's state, where the file is a training checkpoint.
    pub optimizer: Option<Adam>,
    /// The training step.
    pub step: Option<u64>,
    /// Whether the file is a zip archive (torch 1.6 and later) or in the legacy format.
    pub zip: bool,
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
    Reader { source, pickle: &pickle, places: &places, budget }.checkpoint(zip)
}

/// Where storages lie.
enum Places {
    Zip { zip: Zip, prefix: String },
    Legacy(HashMap<Box<str>, (u64, u64)>),
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
        object.storages().map(|storage| (&*storage.key, storage.dtype.size() as u64)).collect();
    let mut places = HashMap::new();
    let mut at = stream.position();
    for key in items {
        let key = keys
            .str(*key)
            .ok_or_else(|| source.bad("its list of storages holds something else than strings"))?;
        let size = sizes.get(key).ok_or_else(|| source.bad(format!("no tensor uses the storage {key:?}")))?;
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

/// Turns a pickle into a checkpoint.
struct Reader<'a> {
    source: &'a Arc<Source>,
    pickle: &'a Pickle,
    places: &'a Places,
    budget: Budget,
}

impl Reader<'_> {
    fn checkpoint(mut self, zip: bool) -> Result<TorchCheckpoint> {
        let root = self.pickle.root;
        if self.pickle.pairs(root).is_none() {
            return Err(self
                .source
                .bad(format!("it holds {}, not a dict of tensors", self.pickle.kind(root))));
        }
        let nested = ["model", "state_dict"]
            .into_iter()
            .find_map(|key| self.pickle.field(root, key).filter(|value| self.pickle.pairs(*value).is_some()));
        let Some(model) = nested else {
            return Ok(TorchCheckpoint {
                model: self.state_dict(root)?,
                ema: None,
                optimizer: None,
                step: None,
                zip,
            });
        };
        let field = |key| self.pickle.field(root, key).filter(|value| self.pickle.pairs(*value).is_some());
        let (ema, optimizer) = (field("ema"), field("optimizer"));
        Ok(TorchCheckpoint {
            model: self.state_dict(model)?,
            ema: ema.map(|ema| self.ema(ema)).transpose()?,
            optimizer: optimizer.map(|optimizer| self.adam(optimizer)).transpose()?,
            step: self.pickle.field(root, "step").map(|step| self.count(step, "step")).transpose()?,
            zip,
        })
    }

    fn state_dict(&mut self, dict: Value) -> Result<Tensors> {
        let pairs = self.pickle.pairs(dict).unwrap_or_default();
        let is_tensor = |(_, value): &&(Value, Value)| self.pickle.tensor(*value).is_some();
        let prefixed = pairs
            .iter()
            .filter(is_tensor)
            .all(|(key, _)| self.pickle.str(*key).is_some_and(|key| key.starts_with("module.")));
        let mut tensors = Tensors::new(self.source.path());
        let mut group = Group::new(self.source);
        for (key, value) in pairs {
            let Some(key) = self.pickle.str(*key) else {
                return Err(self.source.bad("a state dict has a key that is no string"));
            };
            if key.len() > MAX_NAME {
                return Err(self.source.bad(format!("a state dict has a name of {} bytes", key.len())));
            }
            // Numbers beside the tensors (versions, counters) are no weights.
            if self.pickle.tensor(*value).is_none() {
                continue;
            }
            let name = if prefixed { key.strip_prefix("module.").unwrap_or(key) } else { key };
            let tensor = self.tensor(*value, key, &mut group)?;
            tensors.insert(name, tensor)?;
        }
        if tensors.is_empty() {
            return Err(self.source.bad("it holds no tensor by name; is it a checkpoint?"));
        }
        Ok(tensors)
    }

    fn ema(&mut self, ema: Value) -> Result<Ema> {
        let decay = match self.pickle.field(ema, "decay") {
            Some(Value::Float(decay)) => decay,
            Some(Value::Int(decay)) => decay as f64,
            _ => return Err(self.source.bad("ema.decay is missing or no number")),
        };
        let num_updates = match self.pickle.field(ema, "num_updates") {
            None | Some(Value::None) => None,
            Some(count) => Some(self.count(count, "ema.num_updates")?),
        };
        let list = self.pickle.field(ema, "shadow_params").and_then(|list| self.pickle.items(list));
        let list = list.ok_or_else(|| self.source.bad("ema.shadow_params is missing or no list"))?;
        let mut group = Group::new(self.source);
        let shadow_params = (list.iter().enumerate())
            .map(|(i, value)| self.tensor(*value, &format!("ema.shadow_params[{i}]"), &mut group))
            .collect::<Result<_>>()?;
        Ok(Ema { decay, num_updates, shadow_params })
    }

    fn adam(&mut self, optimizer: Value) -> Result<Adam> {
        let pickle = self.pickle;
        let pairs = pickle.field(optimizer, "state").and_then(|state| pickle.pairs(state));
        let pairs = pairs.ok_or_else(|| self.source.bad("optimizer.state is missing or no dict"))?;
        let mut state = BTreeMap::new();
        let mut groups = [Group::new(self.source), Group::new(self.source)];
        for (key, value) in pairs {
            let index = match key {
                Value::Int(index) => usize::try_from(*index).ok(),
                _ => None,
            };
            let index = index.ok_or_else(|| self.source.bad("optimizer.state has a key that is no index"))?;
            let name = |field: &str| format!("optimizer.state[{index}].{field}");
            // Fields are looked for one by one, which must not become long: Adam has three, or four with AMSGrad.
            if pickle.pairs(*value).is_none_or(|fields| fields.len() > MAX_FIELDS) {
                return Err(self.source.bad(format!("optimizer.state[{index}] is not the state of Adam")));
            }
            let get = |field: &str| {
                pickle
                    .field(*value, field)
                    .ok_or_else(|| self.source.bad(format!("{} is missing", name(field))))
            };
            let (step, m, v) = (get("step")?, get("exp_avg")?, get("exp_avg_sq")?);
            let moments = AdamMoments {
                step: self.count(step, &name("step"))?,
                exp_avg: self.tensor(m, &name("exp_avg"), &mut groups[0])?,
                exp_avg_sq: self.tensor(v, &name("exp_avg_sq"), &mut groups[1])?,
            };
            state.insert(index, moments);
        }
        let first =
            pickle.field(optimizer, "param_groups").and_then(|groups| pickle.items(groups)?.first().copied());
        let lr = match first.and_then(|group| pickle.field(group, "lr")) {
            Some(Value::Float(lr)) => Some(lr),
            Some(Value::Int(lr)) => Some(lr as f64),
            _ => None,
        };
        Ok(Adam { state, lr })
    }

    /// A count that is an integer, a whole float or a tensor of one element (Adam's step since torch 1.12).
    fn count(&mut self, value: Value, what: &str) -> Result<u64> {
        let number = match value {
            Value::Int(n) => n as f64,
            Value::Float(x) => x,
            _ if self.pickle.tensor(value).is_some() => {
                let tensor = self.tensor(value, what, &mut Group::new(self.source))?;
                if tensor.len() != 1 {
                    return Err(self.source.bad(format!("{what} is a tensor of {} elements", tensor.len())));
                }
                tensor.to_f64()?[0]
            }
            _ => return Err(self.source.bad(format!("{what} is {}, not a count", self.pickle.kind(value)))),
        };
        // Up to 2^53 every count is exact in f64.
        if number >= 0.0 && number.fract() == 0.0 && number <= 9_007_199_254_740_992.0 {
            Ok(number as u64)
        } else {
            Err(self.source.bad(format!("{what} = {number} is not a count")))
        }
    }

    fn tensor(&mut self, value: Value, what: &str, group: &mut Group) -> Result<Tensor> {
        let bad = |problem: String| self.source.bad(format!("{what}: {problem}"));
        let Some(tensor) = self.pickle.tensor(value) else {
            return Err(bad(format!("{} stands where a tensor should", self.pickle.kind(value))));
        };
        // Name, map and list entries, shape, place.
        self.budget.charge(what.len() as u64 + 320).map_err(bad)?;
        let Some(storage) = self.pickle.storage(tensor.storage) else {
            return Err(bad("its storage is missing".into()));
        };
        let (offset, check) = self.place(storage).map_err(bad)?;
        let stored = view(tensor, storage).map_err(bad)?;
        let size = storage.dtype.size() as u64;
        group.add(stored.len * size).map_err(bad)?;
        let place = Stored {
            source: self.source.clone(),
            offset: offset + stored.first * size,
            strides: (!stored.dense).then(|| tensor.strides.clone()),
            check,
        };
        Ok(Tensor::stored(storage.dtype, &tensor.shape, place))
    }

    /// Where a storage begins, and its check; its length in the file must be the one in the pickle.
    fn place(&self, storage: &Storage) -> std::result::Result<(u64, Option<Arc<Check>>), String> {
        let key = &storage.key;
        let (offset, len, check) = match self.places {
            Places::Zip { zip, prefix } => {
                let entry = zip.get(&format!("{prefix}data/{key}"));
                let entry = entry.ok_or_else(|| format!("the archive lacks its storage {key:?}"))?;
                (entry.offset, entry.len, entry.check.clone())
            }
            Places::Legacy(places) => {
                let (offset, len) =
                    places.get(key).ok_or_else(|| format!("the file lacks its storage {key:?}"))?;
                (*offset, *len, None)
            }
        };
        if storage.len.checked_mul(storage.dtype.size() as u64) != Some(len) {
            return Err(format!(
                "its storage {key:?} should have {} elements of {}, the file has {len} bytes",
                storage.len, storage.dtype
            ));
        }
        Ok((offset, check))
    }
}

/// A tensor within its storage, in elements.
struct Extent {
    first: u64,
    len: u64,
    /// Row-major without holes.
    dense: bool,
}

/// Checks that every element of a tensor lies within its storage.
fn view(tensor: &TensorRef, storage: &Storage) -> std::result::Result<Extent, String> {
    let (base, available) = storage.view.unwrap_or((0, storage.len));
    if base.checked_add(available).is_none_or(|end| end > storage.len) {
        return Err(format!("the view {base}+{available} exceeds its storage of {} elements", storage.len));
    }
    let outside = || {
        format!(
            "shape {:?}, strides {:?} and offset {} exceed its storage of {available} elements",
            tensor.shape, tensor.strides, tensor.offset
        )
    };
    let len = elements(&tensor.shape).ok_or_else(outside)? as u64;
    let mut dense = true;
    if len > 0 {
        let mut last = tensor.offset;
        let mut step = 1u64;
        for (size, stride) in tensor.shape.iter().zip(&tensor.strides).rev() {
            let size = *size as u64;
            last =
                stride.checked_mul(size - 1).and_then(|reach| last.checked_add(reach)).ok_or_else(outside)?;
            // The stride along an axis of size 1 has no effect.
            dense &= size == 1 || *stride == step;
            step = step.saturating_mul(size);
        }
        if last >= available {
            return Err(outside());
        }
        // Elements that overlap so far would let a small file ask for any amount of memory.
        if len > available {
            return Err(format!("{len} elements over a storage of {available} repeat themselves"));
        }
    }
    Ok(Extent { first: if len > 0 { base + tensor.offset } else { 0 }, len, dense })
}

/// Bytes of the tensors of one group: shared storages must not make a small file expand.
struct Group {
    left: u64,
    limit: u64,
}

impl Group {
    fn new(source: &Source) -> Self {
        Self { left: source.len(), limit: source.len() }
    }

    fn add(&mut self, bytes: u64) -> std::result::Result<(), String> {
        let problem = || {
            format!(
                "with this tensor they come to more than the file's {} bytes; too many share a storage",
                self.limit
            )
        };
        self.left = self.left.checked_sub(bytes).ok_or_else(problem)?;
        Ok(())
    }
}
