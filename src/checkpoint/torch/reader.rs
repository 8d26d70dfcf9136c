//! From a pickle to tensors: every element that a tensor names must lie within its storage, and every storage within the file.

use std::collections::HashMap;
use std::sync::Arc;

use crate::Result;
use crate::checkpoint::pickle::{Element, Pickle, Storage, TensorRef, Value};
use crate::checkpoint::source::{Budget, Check, Source};
use crate::checkpoint::tensors::{Stored, Tensor, elements};
use crate::checkpoint::zip::Zip;

/// Where storages lie.
pub(super) enum Places {
    Zip { zip: Zip, prefix: String },
    Legacy(HashMap<Box<str>, (u64, u64)>),
}

/// Turns a pickle into a checkpoint.
pub(super) struct Reader<'a> {
    pub(super) source: &'a Arc<Source>,
    pub(super) pickle: &'a Pickle,
    places: &'a Places,
    pub(super) budget: Budget,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        source: &'a Arc<Source>,
        pickle: &'a Pickle,
        places: &'a Places,
        budget: Budget,
    ) -> Self {
        Self { source, pickle, places, budget }
    }

    /// A count that is an integer, a whole float or a tensor of one element (Adam's step since torch 1.12).
    pub(super) fn count(&mut self, value: Value, what: &str) -> Result<u64> {
        let number = match value {
            Value::Int(n) => n as f64,
            Value::Float(x) => x,
            _ if self.pickle.is_tensor(value) => {
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

    pub(super) fn tensor(&mut self, value: Value, what: &str, group: &mut Group) -> Result<Tensor> {
        let pickle = self.pickle;
        let bad = |problem: String| self.source.bad(format!("{what}: {problem}"));
        if let Some((dtype, shape, bytes)) = pickle.array(value) {
            group.add(bytes.len() as u64).map_err(bad)?;
            self.budget.charge((what.len() + bytes.len()) as u64 + 320).map_err(bad)?;
            return Tensor::from_bytes(dtype, shape, bytes).map_err(|error| bad(error.to_string()));
        }
        let Some(tensor) = pickle.tensor(value) else {
            return Err(bad(format!("{} stands where a tensor should", pickle.kind(value))));
        };
        // Name, map and list entries, shape, place.
        self.budget.charge(what.len() as u64 + 320).map_err(bad)?;
        let Some(storage) = pickle.storage(tensor.storage) else {
            return Err(bad("its storage is missing".into()));
        };
        let dtype = match storage.element {
            Element::Known(dtype) => dtype,
            Element::Other(name, _) => {
                return Err(bad(format!("it has elements of {name}, which are not read")));
            }
        };
        let (offset, check) = self.place(storage).map_err(bad)?;
        let stored = view(tensor, storage).map_err(bad)?;
        let size = dtype.size() as u64;
        group.add(stored.len * size).map_err(bad)?;
        let place = Stored {
            source: self.source.clone(),
            offset: offset + stored.first * size,
            strides: (!stored.dense).then(|| tensor.strides.clone()),
            check,
        };
        Ok(Tensor::stored(dtype, &tensor.shape, place))
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
        if storage.len.checked_mul(storage.element.size() as u64) != Some(len) {
            return Err(format!(
                "its storage {key:?} should have {} elements of {}, the file has {len} bytes",
                storage.len,
                storage.element.name()
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
pub(super) struct Group {
    left: u64,
    limit: u64,
}

impl Group {
    pub(super) fn new(source: &Source) -> Self {
        Self { left: source.len(), limit: source.len() }
    }

    pub(super) fn add(&mut self, bytes: u64) -> std::result::Result<(), String> {
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
