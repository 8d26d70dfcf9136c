//! The archives that torch.save writes: entries are stored, never compressed, so that a tensor is read where it stands.

use std::collections::HashMap;
use std::sync::Arc;

use crate::Result;
use crate::checkpoint::source::{Budget, Check, Source, SourceReader, Sum};
use crate::formats::zip::ZipReader;

/// One stored entry.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) offset: u64,
    pub(super) len: u64,
    /// None where the writer did not compute a CRC (torch's `compute_crc32 = False` records 0).
    pub(super) check: Option<Arc<Check>>,
}

/// The entries of an archive by name.
#[derive(Debug)]
pub(super) struct Zip {
    source: Arc<Source>,
    entries: HashMap<Arc<str>, Entry>,
}

/// Whether the bytes begin as a zip archive does.
pub(super) fn is_zip(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04")
}

impl Zip {
    /// Reads the directory and each entry's own header. Errors: [`crate::Error::Format`] with what does not fit.
    pub(super) fn open(source: &Arc<Source>, budget: &mut Budget) -> Result<Self> {
        let mut zip = ZipReader::open_within(SourceReader::new(source), source.path(), budget.left())?;
        let mut entries = HashMap::new();
        for index in 0..zip.entries().len() {
            let offset = zip.stored_at(index)?;
            let entry = &zip.entries()[index];
            let name: Arc<str> = entry.name.as_str().into();
            let Some(offset) = offset else {
                let what = if entry.is_encrypted() { "encrypted" } else { "compressed" };
                return Err(source.bad(format!(
                    "the entry {name:?} is {what}, which torch.save never does; unpack the archive and pack it again with `zip -0`"
                )));
            };
            if entry.packed != entry.size {
                let problem =
                    format!("the stored entry {name:?} has {} bytes but takes {}", entry.size, entry.packed);
                return Err(source.bad(problem));
            }
            // What the reader holds for the entry, and the entry here: itself, its check, its share of a map that doubles.
            budget.charge(2 * name.len() as u64 + 512).map_err(|problem| source.bad(problem))?;
            let check = (entry.crc() != 0)
                .then(|| Check::new(name.clone(), offset, entry.size, Sum::Crc32(entry.crc())));
            if let Some(_twice) = entries.insert(name, Entry { offset, len: entry.size, check }) {
                return Err(source.bad("two entries of the zip archive have the same name"));
            }
        }
        Ok(Self { source: source.clone(), entries })
    }

    /// The entry of that name.
    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// All names, in no order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(|name| &**name)
    }

    /// The whole of a small entry, verified. Errors: where it is longer than `max`.
    pub(super) fn read_small(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>> {
        let Some(entry) = self.get(name) else { return Ok(None) };
        if entry.len > max {
            let problem = format!("the entry {name:?} has {} bytes, at most {max} make sense", entry.len);
            return Err(self.source.bad(problem));
        }
        if let Some(check) = &entry.check {
            check.verify(&self.source)?;
        }
        let mut bytes = vec![0; entry.len as usize];
        self.source.read_at(entry.offset, &mut bytes)?;
        Ok(Some(bytes))
    }
}
