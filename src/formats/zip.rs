//! Zip archives: a reader for stored and deflated entries, a writer for stored ones, both with zip64.
//!
//! Written here rather than taken from a crate because three kinds of file need only this much of it (archives of
//! images, `.npz`, PyTorch's `.pth`), and because it has to stand up to hostile files: sizes are checked against
//! the file before anything is allocated, overlapping entries (zip bombs) are refused, checksums are verified, and the
//! memory of the directory is bounded. Of the crates, `zip` reads the whole directory without a bound and lets entries overlap,
//! and `rawzip` leaves checksums, methods and writing to its caller, which is most of this file.
//! Layout: PKWARE's APPNOTE.TXT 6.3.

use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::crc::crc32;
use crate::{Error, Result};

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END64: u32 = 0x0606_4b50;
const END64_LOCATOR: u32 = 0x0706_4b50;
/// In a 16- or 32-bit field: the value stands in the zip64 extra field.
const IN_ZIP64: u64 = 0xffff_ffff;
const LOCAL_SIZE: u64 = 30;
const CENTRAL_SIZE: usize = 46;
/// What one entry costs in memory beside its name: the entry, its span, lists that double as they grow.
const ENTRY_COST: u64 = 256;

/// What the central directory says about one entry.
#[derive(Clone, Debug)]
pub struct ZipEntry {
    /// The path inside the archive; bytes that are not UTF-8 are replaced.
    pub name: String,
    /// Unpacked size in bytes, as claimed.
    pub size: u64,
    /// Packed size in bytes.
    pub packed: u64,
    method: u16,
    flags: u16,
    crc: u32,
    offset: u64,
}

/// Reads entries of a zip archive in any order.
pub struct ZipReader<R> {
    inner: R,
    path: PathBuf,
    entries: Vec<ZipEntry>,
    /// Where the directory begins, and every entry has ended.
    directory: u64,
}

impl ZipEntry {
    /// CRC-32 of the unpacked bytes, as claimed.
    pub fn crc(&self) -> u32 {
        self.crc
    }

    /// Whether the bytes stand in the file as they are, neither packed nor encrypted.
    pub fn is_stored(&self) -> bool {
        self.method == 0 && !self.is_encrypted()
    }

    /// Whether a password is needed.
    pub fn is_encrypted(&self) -> bool {
        self.flags & 1 == 1
    }
}

/// Little-endian numbers off the front of a slice whose length was checked.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn number(&mut self, bytes: usize) -> Option<u64> {
        let (front, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(front.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)))
    }
    fn u16(&mut self) -> Option<u16> {
        self.number(2).map(|n| n as u16)
    }
    fn u32(&mut self) -> Option<u32> {
        self.number(4).map(|n| n as u32)
    }
    fn u64(&mut self) -> Option<u64> {
        self.number(8)
    }
    fn skip(&mut self, n: usize) -> Option<()> {
        self.0 = self.0.get(n..)?;
        Some(())
    }
}

impl<R: Read + Seek> ZipReader<R> {
    /// Reads the central directory of `inner`, named `path` in errors.
    ///
    /// # Errors
    /// [`Error::Format`] where this is not a zip archive, its directory is damaged, or entries overlap.
    pub fn open(inner: R, path: &Path) -> Result<Self> {
        Self::open_within(inner, path, u64::MAX)
    }

    /// As [`ZipReader::open`], for callers that may hold `memory` bytes at most: a directory of short names takes more
    /// memory than it takes in the file.
    pub fn open_within(inner: R, path: &Path, memory: u64) -> Result<Self> {
        let mut zip = Self { inner, path: path.to_path_buf(), entries: Vec::new(), directory: 0 };
        let (offset, size, count) = zip.find_directory()?;
        zip.directory = offset;
        zip.inner.seek(SeekFrom::Start(offset)).map_err(Error::io(&zip.path))?;
        let directory = BufReader::with_capacity(1 << 16, (&mut zip.inner).take(size));
        zip.entries =
            parse_directory(directory, count, memory).map_err(|e| Error::format(path, e.to_string()))?;
        zip.refuse_overlaps(offset)?;
        Ok(zip)
    }

    /// The entries in the directory's order, folders included (their names end in `/`).
    pub fn entries(&self) -> &[ZipEntry] {
        &self.entries
    }

    /// Unpacks entry `index`.
    ///
    /// # Errors
    /// [`Error::Format`] where the entry is over `max_bytes`, encrypted, packed with a method other than deflate,
    /// shorter or longer than claimed, or fails its checksum.
    pub fn read(&mut self, index: usize, max_bytes: u64) -> Result<Vec<u8>> {
        let Some(entry) = self.entries.get(index).cloned() else {
            return Err(self.bad(&format!("no entry {index} among {}", self.entries.len())));
        };
        let bad = |what: &str| Error::format(&self.path, format!("entry {:?} {what}", entry.name));
        if entry.size > max_bytes {
            return Err(bad(&format!("has {} bytes, over the limit of {max_bytes}", entry.size)));
        }
        if entry.is_encrypted() {
            return Err(bad("is encrypted"));
        }
        let start = self.data_offset(&entry)?;
        let bad = |what: &str| Error::format(&self.path, format!("entry {:?} {what}", entry.name));
        self.inner.seek(SeekFrom::Start(start)).map_err(Error::io(&self.path))?;
        let packed = (&mut self.inner).take(entry.packed);
        // One byte more than claimed shows an entry that lies about its size.
        let mut data = Vec::new();
        match entry.method {
            0 => packed.take(entry.size.saturating_add(1)).read_to_end(&mut data),
            8 => flate2::read::DeflateDecoder::new(packed)
                .take(entry.size.saturating_add(1))
                .read_to_end(&mut data),
            m => return Err(bad(&format!("is packed with method {m}; only stored and deflated are read"))),
        }
        .map_err(|e| bad(&format!("does not unpack: {e}")))?;
        if data.len() as u64 != entry.size {
            return Err(bad(&format!("does not unpack to its {} bytes", entry.size)));
        }
        if crc32([data.as_slice()]) != entry.crc {
            return Err(bad("fails its checksum"));
        }
        Ok(data)
    }

    /// Where in the file a stored entry's bytes begin, for readers that map or seek into it; none if deflated.
    pub fn stored_at(&mut self, index: usize) -> Result<Option<u64>> {
        match self.entries.get(index).cloned() {
            Some(entry) if entry.is_stored() => self.data_offset(&entry).map(Some),
            _ => Ok(None),
        }
    }

    fn data_offset(&mut self, entry: &ZipEntry) -> Result<u64> {
        let head = self.read_at(entry.offset, LOCAL_SIZE)?;
        let fields = || {
            let mut c = Cursor(&head);
            let magic = c.u32()?;
            c.skip(4)?;
            let method = c.u16()?;
            c.skip(16)?;
            Some((magic, method, u64::from(c.u16()?), u64::from(c.u16()?)))
        };
        let Some((LOCAL, method, name_len, extra_len)) = fields() else {
            let problem = format!("no local header where the directory has entry {:?}", entry.name);
            return Err(self.bad(&problem));
        };
        let name = self.read_at(entry.offset + LOCAL_SIZE, name_len)?;
        if method != entry.method || String::from_utf8_lossy(&name) != entry.name {
            return Err(self.bad(&format!("entry {:?} and its record in the directory differ", entry.name)));
        }
        let start = entry.offset + LOCAL_SIZE + name_len + extra_len;
        if start.checked_add(entry.packed).is_none_or(|end| end > self.directory) {
            let what = format!(
                "entry {:?} of {} bytes at {start} reaches into the directory",
                entry.name, entry.packed
            );
            return Err(self.bad(&what));
        }
        Ok(start)
    }

    /// Offset, size and number of entries of the central directory.
    fn find_directory(&mut self) -> Result<(u64, u64, u64)> {
        let length = self.inner.seek(SeekFrom::End(0)).map_err(Error::io(&self.path))?;
        // The end record has 22 bytes and a comment of at most 65,535.
        let tail_size = length.min(22 + 65_535);
        let tail_at = length - tail_size;
        let tail = self.read_at(tail_at, tail_size)?;
        let at = (0..tail.len().saturating_sub(21))
            .rev()
            .find(|&i| tail[i..].starts_with(&END.to_le_bytes()))
            .ok_or_else(|| self.bad("no zip directory at its end; it is truncated, or no zip archive"))?;
        let parse = |mut c: Cursor| {
            c.skip(10)?;
            Some((u64::from(c.u16()?), u64::from(c.u32()?), u64::from(c.u32()?)))
        };
        let (mut count, mut size, mut offset) =
            parse(Cursor(&tail[at..])).ok_or_else(|| self.bad("its end record is damaged"))?;
        if count == 0xffff || size == IN_ZIP64 || offset == IN_ZIP64 {
            let locator = (tail_at + at as u64).checked_sub(20);
            if let Some(found) = locator.map(|l| self.find_directory64(l)).transpose()?.flatten() {
                (count, size, offset) = found;
            }
        }
        let end = offset.checked_add(size);
        if end.is_none_or(|end| end > length) || count > size / CENTRAL_SIZE as u64 {
            return Err(self.bad(&format!(
                "its directory of {count} entries ({size} bytes at {offset}) does not fit its {length} bytes"
            )));
        }
        Ok((offset, size, count))
    }

    fn find_directory64(&mut self, locator: u64) -> Result<Option<(u64, u64, u64)>> {
        let bytes = self.read_at(locator, 20)?;
        let mut c = Cursor(&bytes);
        if c.u32() != Some(END64_LOCATOR) || c.skip(4).is_none() {
            return Ok(None);
        }
        let at = c.u64().unwrap_or(u64::MAX);
        let record = self.read_at(at, 56)?;
        let parse = || {
            let mut c = Cursor(&record);
            let magic = c.u32()?;
            c.skip(28)?;
            let (count, size, offset) = (c.u64()?, c.u64()?, c.u64()?);
            (magic == END64).then_some((count, size, offset))
        };
        parse().map(Some).ok_or_else(|| self.bad("its zip64 end record is damaged"))
    }

    /// Packed entries lie side by side in an honest archive; overlapping ones are how a small file becomes huge.
    fn refuse_overlaps(&self, directory: u64) -> Result<()> {
        let end = |e: &ZipEntry| e.offset.saturating_add(LOCAL_SIZE).saturating_add(e.packed);
        let mut spans: Vec<_> = self.entries.iter().map(|e| (e.offset, end(e), e)).collect();
        spans.sort_unstable_by_key(|(start, end, _)| (*start, *end));
        let mut last = 0;
        for (start, end, entry) in spans {
            if start < last || end > directory {
                return Err(self.bad(&format!(
                    "entry {:?} of {} bytes at {start} overlaps another or the directory",
                    entry.name, entry.packed
                )));
            }
            last = end;
        }
        Ok(())
    }

    fn read_at(&mut self, offset: u64, size: u64) -> Result<Vec<u8>> {
        self.inner.seek(SeekFrom::Start(offset)).map_err(Error::io(&self.path))?;
        let mut bytes = Vec::new();
        (&mut self.inner).take(size).read_to_end(&mut bytes).map_err(Error::io(&self.path))?;
        if bytes.len() as u64 != size {
            return Err(self.bad(&format!("ends before the {size} bytes at {offset}")));
        }
        Ok(bytes)
    }

    fn bad(&self, what: &str) -> Error {
        Error::format(&self.path, what)
    }
}

fn parse_directory(mut directory: impl Read, count: u64, mut memory: u64) -> io::Result<Vec<ZipEntry>> {
    let damaged = || io::Error::other("its directory is damaged");
    let mut entries = Vec::new();
    for _ in 0..count {
        let mut fixed = [0; CENTRAL_SIZE];
        directory.read_exact(&mut fixed).map_err(|_| damaged())?;
        let (mut entry, name_len, extra_len, comment_len) = parse_record(&fixed).ok_or_else(damaged)?;
        let cost = u64::from(name_len) + ENTRY_COST;
        memory = memory.checked_sub(cost).ok_or_else(|| {
            io::Error::other(format!(
                "its directory of {count} entries takes more memory than its size justifies"
            ))
        })?;
        let mut rest = vec![0; usize::from(name_len) + usize::from(extra_len) + usize::from(comment_len)];
        directory.read_exact(&mut rest).map_err(|_| damaged())?;
        let (name, rest) = rest.split_at(name_len.into());
        entry.name = String::from_utf8_lossy(name).into_owned();
        widen(&mut entry, &rest[..extra_len.into()]).ok_or_else(damaged)?;
        entries.push(entry);
    }
    Ok(entries)
}

/// An entry without its name, and the lengths of name, extra field and comment.
fn parse_record(fixed: &[u8; CENTRAL_SIZE]) -> Option<(ZipEntry, u16, u16, u16)> {
    let mut c = Cursor(fixed);
    if c.u32()? != CENTRAL {
        return None;
    }
    c.skip(4)?;
    let (flags, method) = (c.u16()?, c.u16()?);
    c.skip(4)?;
    let crc = c.u32()?;
    let (packed, size) = (u64::from(c.u32()?), u64::from(c.u32()?));
    let (name_len, extra_len, comment_len) = (c.u16()?, c.u16()?, c.u16()?);
    c.skip(8)?;
    let offset = u64::from(c.u32()?);
    let entry = ZipEntry { name: String::new(), size, packed, method, flags, crc, offset };
    Some((entry, name_len, extra_len, comment_len))
}

/// Takes sizes and offset from the zip64 extra field where the record refers to it.
fn widen(entry: &mut ZipEntry, extra: &[u8]) -> Option<()> {
    let mut extra = Cursor(extra);
    while let (Some(id), Some(len)) = (extra.u16(), extra.u16()) {
        let mut field = Cursor(extra.0.get(..len.into())?);
        if id == 1 {
            for value in [&mut entry.size, &mut entry.packed, &mut entry.offset] {
                if *value == IN_ZIP64 {
                    *value = field.u64()?;
                }
            }
        }
        extra.skip(len.into())?;
    }
    Some(())
}

/// Writes stored entries one after the other.
pub struct ZipWriter<W> {
    out: W,
    at: u64,
    directory: Vec<u8>,
    count: u64,
}

/// 1 January 1980, the zero of DOS dates: equal contents give equal bytes.
const DOS_DATE: u16 = 0x0021;

impl<W: Write> ZipWriter<W> {
    /// Begins an archive at the current end of `out`, which must be empty.
    pub fn new(out: W) -> Self {
        Self { out, at: 0, directory: Vec::new(), count: 0 }
    }

    /// Stores the parts, one after the other, as the entry `name`.
    pub fn add(&mut self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let name_len =
            u16::try_from(name.len()).map_err(|_| io::Error::other("an entry's name is over 64 KiB"))?;
        let crc = crc32(parts.iter().copied());
        let size: u64 = parts.iter().map(|p| p.len() as u64).sum();
        let offset = self.at;
        let (big, far) = (size >= IN_ZIP64, offset >= IN_ZIP64);
        let version: u16 = if big || far { 45 } else { 20 };
        let size32 = (size.min(IN_ZIP64) as u32).to_le_bytes();

        // From here both headers agree: version, flags (UTF-8 names), method, time, date, crc, sizes, name length.
        let mut shared = Vec::new();
        for v in [version, 0x0800, 0, 0, DOS_DATE] {
            shared.extend(v.to_le_bytes());
        }
        shared.extend(crc.to_le_bytes());
        shared.extend(size32);
        shared.extend(size32);
        shared.extend(name_len.to_le_bytes());

        let mut local = LOCAL.to_le_bytes().to_vec();
        local.extend(&shared);
        let sizes64: Vec<u8> =
            if big { [size, size].iter().flat_map(|v| v.to_le_bytes()).collect() } else { vec![] };
        let extra = zip64_extra(&sizes64);
        local.extend((extra.len() as u16).to_le_bytes());
        local.extend(name.as_bytes());
        local.extend(&extra);
        self.out.write_all(&local)?;
        for part in parts {
            self.out.write_all(part)?;
        }
        self.at += local.len() as u64 + size;

        let mut values64 = sizes64;
        if far {
            values64.extend(offset.to_le_bytes());
        }
        let extra = zip64_extra(&values64);
        let d = &mut self.directory;
        d.extend(CENTRAL.to_le_bytes());
        d.extend(version.to_le_bytes());
        d.extend(&shared);
        d.extend((extra.len() as u16).to_le_bytes());
        // No comment, disk 0, no attributes.
        d.extend([0; 10]);
        d.extend((offset.min(IN_ZIP64) as u32).to_le_bytes());
        d.extend(name.as_bytes());
        d.extend(&extra);
        self.count += 1;
        Ok(())
    }

    /// Writes the directory and gives `out` back.
    pub fn finish(mut self) -> io::Result<W> {
        let (offset, size, count) = (self.at, self.directory.len() as u64, self.count);
        self.out.write_all(&self.directory)?;
        let mut end = Vec::new();
        if offset >= IN_ZIP64 || size >= IN_ZIP64 || count >= 0xffff {
            end.extend(END64.to_le_bytes());
            end.extend(44u64.to_le_bytes());
            end.extend([45, 0, 45, 0]);
            end.extend([0; 8]);
            for v in [count, count, size, offset] {
                end.extend(v.to_le_bytes());
            }
            end.extend(END64_LOCATOR.to_le_bytes());
            end.extend([0; 4]);
            end.extend((offset + size).to_le_bytes());
            end.extend(1u32.to_le_bytes());
        }
        end.extend(END.to_le_bytes());
        end.extend([0; 4]);
        let count16 = (count.min(0xffff) as u16).to_le_bytes();
        end.extend(count16);
        end.extend(count16);
        end.extend((size.min(IN_ZIP64) as u32).to_le_bytes());
        end.extend((offset.min(IN_ZIP64) as u32).to_le_bytes());
        end.extend([0; 2]);
        self.out.write_all(&end)?;
        Ok(self.out)
    }
}

fn zip64_extra(values: &[u8]) -> Vec<u8> {
    if values.is_empty() {
        return Vec::new();
    }
    let mut extra = vec![1, 0];
    extra.extend((values.len() as u16).to_le_bytes());
    extra.extend(values);
    extra
}

#[cfg(test)]
mod tests;
