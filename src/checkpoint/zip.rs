//! A zip archive's directory, for files that torch.save writes: entries are stored, never compressed, so that a tensor is read in
//! place. Zip and zip64 as in PKWARE's APPNOTE 6.3. What the directory says is checked against the file and the
//! entries' own headers before any of it is used.

use std::collections::HashMap;
use std::sync::Arc;

use crate::Result;
use crate::checkpoint::source::{Budget, Check, Source, Stream, Sum};

const END: [u8; 4] = *b"PK\x05\x06";
const END_64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR_64: [u8; 4] = *b"PK\x06\x07";
const DIRECTORY: [u8; 4] = *b"PK\x01\x02";
const LOCAL: [u8; 4] = *b"PK\x03\x04";
const END_LEN: u64 = 22;
/// Longest comment after the end record.
const MAX_COMMENT: u64 = 0xffff;
/// Names in torch's archives are a few dozen bytes long.
const MAX_NAME: usize = 1024;

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
    head.starts_with(&LOCAL)
}

/// The directory's place and its number of entries.
struct Directory {
    offset: u64,
    len: u64,
    entries: u64,
}

/// What one record of the directory says.
struct Record {
    name: Arc<str>,
    crc: u32,
    len: u64,
    header: u64,
}

fn u16_at(bytes: &[u8], at: usize) -> u64 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]]).into()
}

fn u32_at(bytes: &[u8], at: usize) -> u64 {
    (u16_at(bytes, at)) | (u16_at(bytes, at + 2) << 16)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u32_at(bytes, at) | (u32_at(bytes, at + 4) << 32)
}

impl Zip {
    /// Reads the directory and each entry's own header. Errors: [`crate::Error::Format`] with what does not fit.
    pub(super) fn open(source: &Arc<Source>, budget: &mut Budget) -> Result<Self> {
        let directory = find_directory(source)?;
        let mut stream = Stream::new(source, directory.offset, directory.len)?;
        // A record has 46 bytes at least; more entries than that are a lie.
        if directory.entries > directory.len / 46 {
            return Err(source.bad(format!(
                "its zip directory claims {} entries in {} bytes",
                directory.entries, directory.len
            )));
        }
        let mut entries = HashMap::new();
        let mut places = Vec::new();
        for _ in 0..directory.entries {
            let record = read_record(source, &mut stream)?;
            // An entry, its check, its share of a map and of a list that double as they grow.
            budget.charge(record.name.len() as u64 + 256).map_err(|problem| source.bad(problem))?;
            let offset = check_local(source, &record, directory.offset)?;
            places.push((record.header, offset + record.len));
            let check = (record.crc != 0)
                .then(|| Check::new(record.name.clone(), offset, record.len, Sum::Crc32(record.crc)));
            let entry = Entry { offset, len: record.len, check };
            if let Some(_twice) = entries.insert(record.name, entry) {
                return Err(source.bad("two entries of the zip archive have the same name"));
            }
        }
        // Overlapping entries make a small file pose as a large one.
        places.sort_unstable();
        if places.windows(2).any(|pair| pair[0].1 > pair[1].0) {
            return Err(source.bad("two entries of the zip archive overlap"));
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
            return Err(self
                .source
                .bad(format!("the entry {name:?} has {} bytes, at most {max} make sense", entry.len)));
        }
        if let Some(check) = &entry.check {
            check.verify(&self.source)?;
        }
        let mut bytes = vec![0; entry.len as usize];
        self.source.read_at(entry.offset, &mut bytes)?;
        Ok(Some(bytes))
    }
}

fn find_directory(source: &Source) -> Result<Directory> {
    let tail_len = source.len().min(END_LEN + MAX_COMMENT);
    let tail_at = source.len() - tail_len;
    let mut tail = vec![0; tail_len as usize];
    source.read_at(tail_at, &mut tail)?;
    // The comment must reach the end exactly, so that bytes of a tensor are not taken for the record.
    let end = (0..(tail.len() + 1).saturating_sub(END_LEN as usize)).rev().find(|at| {
        tail[*at..].starts_with(&END) && u16_at(&tail, at + 20) == (tail.len() - at) as u64 - END_LEN
    });
    let Some(end) = end else {
        return Err(
            source.bad("it begins as a zip archive but has no zip directory at its end; it is truncated")
        );
    };
    let record = &tail[end..];
    let end_at = tail_at + end as u64;
    if u16_at(record, 4) != 0 && u16_at(record, 4) != 0xffff {
        return Err(source.bad("it is one volume of a zip archive in several"));
    }
    let mut directory =
        Directory { entries: u16_at(record, 10), len: u32_at(record, 12), offset: u32_at(record, 16) };
    let mut before = end_at;
    if let Some(locator_at) = end_at.checked_sub(20) {
        let mut locator = [0; 20];
        source.read_at(locator_at, &mut locator)?;
        if locator.starts_with(&LOCATOR_64) {
            before = u64_at(&locator, 8);
            let mut wide = [0; 56];
            source.read_at(before, &mut wide)?;
            if !wide.starts_with(&END_64) || before + 56 > locator_at {
                return Err(source.bad(format!("there is no zip64 end record at byte {before}")));
            }
            directory =
                Directory { entries: u64_at(&wide, 32), len: u64_at(&wide, 40), offset: u64_at(&wide, 48) };
        }
    }
    match directory.offset.checked_add(directory.len) {
        Some(end) if end <= before => Ok(directory),
        _ => Err(source.bad(format!(
            "its zip directory of {} bytes at byte {} does not end before its end record at byte {before}",
            directory.len, directory.offset
        ))),
    }
}

fn read_record(source: &Source, stream: &mut Stream) -> Result<Record> {
    let at = stream.position();
    let fixed: [u8; 46] = stream.array()?;
    if !fixed.starts_with(&DIRECTORY) {
        return Err(source.bad(format!("there is no zip directory record at byte {at}")));
    }
    let name_len = u16_at(&fixed, 28) as usize;
    if name_len == 0 || name_len > MAX_NAME {
        return Err(source.bad(format!("an entry's name has {name_len} bytes; 1 to {MAX_NAME} make sense")));
    }
    let name = String::from_utf8(stream.bytes(name_len as u64)?)
        .map_err(|_| source.bad(format!("the name of the entry at byte {at} is not UTF-8")))?;
    let extra = stream.bytes(u16_at(&fixed, 30))?;
    stream.bytes(u16_at(&fixed, 32))?;
    if u16_at(&fixed, 8) & 1 != 0 {
        return Err(source.bad(format!("the entry {name:?} is encrypted")));
    }
    if u16_at(&fixed, 10) != 0 {
        return Err(source.bad(format!(
            "the entry {name:?} is compressed, which torch.save never does; unpack the archive and pack it again with `zip -0`"
        )));
    }
    let (packed, len) = (u32_at(&fixed, 20), u32_at(&fixed, 24));
    let header = u32_at(&fixed, 42);
    let wide = wide_fields(&extra, [len, packed, header]).ok_or_else(|| {
        source.bad(format!("the zip64 sizes of the entry {name:?} are missing or cut short"))
    })?;
    let [len, packed, header] = wide;
    if len != packed {
        return Err(source.bad(format!("the stored entry {name:?} has {len} bytes but takes {packed}")));
    }
    Ok(Record { name: name.into(), crc: u32_at(&fixed, 16) as u32, len, header })
}

/// Replaces fields that are all ones by those of the zip64 extra field, in its order.
fn wide_fields(extra: &[u8], narrow: [u64; 3]) -> Option<[u64; 3]> {
    const WIDE: u64 = 0xffff_ffff;
    if !narrow.contains(&WIDE) {
        return Some(narrow);
    }
    let mut rest = extra;
    while rest.len() >= 4 {
        let (id, len) = (u16_at(rest, 0), u16_at(rest, 2) as usize);
        let body = rest.get(4..4 + len)?;
        if id == 1 {
            let mut words = body.chunks_exact(8).map(|word| u64_at(word, 0));
            let mut out = narrow;
            for field in out.iter_mut().filter(|field| **field == WIDE) {
                *field = words.next()?;
            }
            return Some(out);
        }
        rest = &rest[4 + len..];
    }
    None
}

/// Checks an entry's own header; gives the offset of its bytes.
fn check_local(source: &Source, record: &Record, directory: u64) -> Result<u64> {
    let name = &record.name;
    let mut fixed = [0; 30];
    source.read_at(record.header, &mut fixed)?;
    if !fixed.starts_with(&LOCAL) {
        return Err(source.bad(format!("the entry {name:?} does not begin at byte {}", record.header)));
    }
    let name_len = u16_at(&fixed, 26);
    let mut local_name = vec![0; name_len as usize];
    source.read_at(record.header + 30, &mut local_name)?;
    if local_name != name.as_bytes() || u16_at(&fixed, 8) != 0 {
        return Err(source.bad(format!("the entry {name:?} and its record in the zip directory differ")));
    }
    let offset = record.header + 30 + name_len + u16_at(&fixed, 28);
    match offset.checked_add(record.len) {
        Some(end) if end <= directory => Ok(offset),
        _ => Err(source.bad(format!(
            "the entry {name:?} of {} bytes at byte {offset} reaches into the zip directory at byte {directory}",
            record.len
        ))),
    }
}
