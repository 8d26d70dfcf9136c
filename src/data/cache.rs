//! The packed cache: every image of a source, decoded and preprocessed once, as one file of equal rows.
//!
//! ```text
//! header   64 bytes: magic, version, n h w c, fingerprint of source and recipe, place of the tables, checksums
//! rows     from byte 4096: n times h w c bytes, in the order in which they were read
//! tables   n times (row u64, label i32, split u32, crc32c of the row u32), then JSON: classes, sizes, bad images
//! ```
//!
//! All numbers are little endian. A cache that is damaged, of another version or of another source is ignored and
//! written anew. It is written under another name, synced and renamed, so that it is whole or absent.
//!
//! Rows are read by position rather than mapped: the page cache serves both alike (about 1 µs for 3 KiB), a file that
//! somebody cuts short gives an error instead of a bus error, and no `unsafe` is needed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::ingest::{BadImage, Found};
use super::layout::{Split, layout};
use super::left_out::LeftOut;
use super::preprocess::Preprocess;
use crate::formats::crc::crc32c;
use crate::{Error, Result, files};

const MAGIC: [u8; 8] = *b"LANGDATA";
/// Raised whenever the same pictures become other pixels: 2 turns them upright and reads more formats.
const VERSION: u32 = 2;
const HEADER: usize = 64;
const ROWS_AT: u64 = 4096;
const ENTRY: usize = 20;
/// Up to here a cache is read whole and checked when it is opened; above, each row as it is read.
const CHECK_WHOLE: u64 = 1 << 30;

/// Where one image is and what is known about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) row: u64,
    pub(crate) label: i32,
    pub(crate) split: Split,
    pub(crate) crc: u32,
}

/// What the JSON at the end holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) classes: Vec<String>,
    pub(crate) has_splits: bool,
    /// (width, height, channels, how many) before preprocessing.
    pub(crate) sizes: Vec<(u32, u32, u32, u64)>,
    pub(crate) bad: Vec<BadImage>,
    pub(crate) left_out: LeftOut,
}

/// An open cache.
#[derive(Debug)]
pub(crate) struct Cache {
    path: PathBuf,
    file: Mutex<File>,
    row_bytes: usize,
    pub(crate) entries: Vec<Entry>,
    pub(crate) meta: Meta,
}

/// The fixed-size front of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    n: u64,
    side: u32,
    channels: u32,
    fingerprint: u64,
    meta_bytes: u64,
    tables_crc: u32,
}

impl Header {
    fn to_bytes(self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..20].copy_from_slice(&self.n.to_le_bytes());
        out[20..24].copy_from_slice(&self.side.to_le_bytes());
        out[24..28].copy_from_slice(&self.channels.to_le_bytes());
        out[28..36].copy_from_slice(&self.fingerprint.to_le_bytes());
        out[36..44].copy_from_slice(&self.meta_bytes.to_le_bytes());
        out[44..48].copy_from_slice(&self.tables_crc.to_le_bytes());
        let crc = crc32c(&out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn from_bytes(b: &[u8; HEADER]) -> Option<Self> {
        let u32_at = |i: usize| Some(u32::from_le_bytes(b.get(i..i + 4)?.try_into().ok()?));
        let u64_at = |i: usize| Some(u64::from_le_bytes(b.get(i..i + 8)?.try_into().ok()?));
        let ours = b[..8] == MAGIC && u32_at(8)? == VERSION && u32_at(60)? == crc32c(&b[..60]);
        ours.then_some(Self {
            n: u64_at(12)?,
            side: u32_at(20)?,
            channels: u32_at(24)?,
            fingerprint: u64_at(28)?,
            meta_bytes: u64_at(36)?,
            tables_crc: u32_at(44)?,
        })
    }
}

impl Cache {
    /// Opens a cache of this source and recipe; none where there is no file that is whole and fits.
    pub(crate) fn open(path: &Path, fingerprint: u64, prep: &Preprocess) -> Option<Self> {
        let (mut file, length) = files::open(path).ok()?;
        let mut head = [0; HEADER];
        file.read_exact(&mut head).ok()?;
        let header = Header::from_bytes(&head)?;
        let fits = header.fingerprint == fingerprint && header.side == prep.image_size;
        if !fits || header.channels != prep.channels {
            return None;
        }
        let rows_bytes = header.n.checked_mul(prep.bytes() as u64)?;
        let tables_at = ROWS_AT.checked_add(rows_bytes)?;
        let tables_bytes = header.n.checked_mul(ENTRY as u64)?.checked_add(header.meta_bytes)?;
        if tables_at.checked_add(tables_bytes)? != length {
            return None;
        }
        file.seek(SeekFrom::Start(tables_at)).ok()?;
        let mut tables = Vec::new();
        (&mut file).take(tables_bytes).read_to_end(&mut tables).ok()?;
        if tables.len() as u64 != tables_bytes || crc32c(&tables) != header.tables_crc {
            return None;
        }
        let (entries, meta) = tables.split_at_checked(header.n as usize * ENTRY)?;
        let entries: Vec<Entry> =
            entries.as_chunks::<ENTRY>().0.iter().map(Entry::from_bytes).collect::<Option<_>>()?;
        if entries.iter().any(|e| e.row >= header.n) {
            return None;
        }
        let meta = serde_json::from_slice(meta).ok()?;
        let cache =
            Self { path: path.to_path_buf(), file: Mutex::new(file), row_bytes: prep.bytes(), entries, meta };
        (rows_bytes > CHECK_WHOLE || cache.rows_are_whole()).then_some(cache)
    }

    fn rows_are_whole(&self) -> bool {
        let mut order: Vec<usize> = (0..self.entries.len()).collect();
        // In the order of the file, which is the fastest to read.
        order.sort_unstable_by_key(|&i| self.entries[i].row);
        let mut row = vec![0; self.row_bytes];
        order.into_iter().all(|i| self.read(i, &mut row).is_ok())
    }

    /// Reads image `index` into `row`.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Format`] where the row fails its checksum.
    pub(crate) fn read(&self, index: usize, row: &mut [u8]) -> Result<()> {
        let entry = self.entries[index];
        {
            // A thread that panicked while it held the file left nothing that the seek does not set right.
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(ROWS_AT + entry.row * self.row_bytes as u64))
                .map_err(Error::io(&self.path))?;
            file.read_exact(row).map_err(Error::io(&self.path))?;
        }
        if crc32c(row) != entry.crc {
            let problem = format!(
                "image {index} of the packed data set is damaged; delete the file, it is packed again"
            );
            return Err(Error::format(&self.path, problem));
        }
        Ok(())
    }
}

impl Entry {
    fn to_bytes(self) -> [u8; ENTRY] {
        let mut out = [0; ENTRY];
        out[..8].copy_from_slice(&self.row.to_le_bytes());
        out[8..12].copy_from_slice(&self.label.to_le_bytes());
        out[12..16].copy_from_slice(&u32::from(self.split == Split::Test).to_le_bytes());
        out[16..].copy_from_slice(&self.crc.to_le_bytes());
        out
    }

    fn from_bytes(b: &[u8; ENTRY]) -> Option<Self> {
        let split = match u32::from_le_bytes(b[12..16].try_into().ok()?) {
            0 => Split::Train,
            1 => Split::Test,
            _ => return None,
        };
        Some(Self {
            row: u64::from_le_bytes(b[..8].try_into().ok()?),
            label: i32::from_le_bytes(b[8..12].try_into().ok()?),
            split,
            crc: u32::from_le_bytes(b[16..].try_into().ok()?),
        })
    }
}

/// What a source found becomes: the entries in their final order and what there is to say.
pub(crate) fn arrange(found: Found, crcs: &[u32]) -> (Vec<Entry>, Meta) {
    let layout = layout(&found.names);
    let entries = layout
        .images
        .iter()
        .map(|&(i, label, split)| Entry { row: i as u64, label, split, crc: crcs[i] })
        .collect();
    let meta = Meta {
        classes: layout.classes,
        has_splits: layout.has_splits,
        sizes: found
            .sizes
            .into_iter()
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .map(|((w, h, c), n)| (w, h, c, n))
            .collect(),
        bad: found.bad,
        left_out: found.left_out,
    };
    (entries, meta)
}

/// A cache being written.
pub(crate) struct CacheWriter {
    path: PathBuf,
    part: Part,
    out: BufWriter<File>,
    crcs: Vec<u32>,
}

/// The unfinished file; removed unless it was renamed.
struct Part {
    path: PathBuf,
    keep: bool,
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.keep {
            // Nothing is lost if this fails: the next packing sweeps it up.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl CacheWriter {
    /// Begins a cache that will be `path`; makes its folder.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        files::sweep(folder);
        let (file, part) = files::create_beside(path).map_err(Error::io(path))?;
        let part = Part { path: part, keep: false };
        let mut out = BufWriter::with_capacity(1 << 20, file);
        out.write_all(&[0; ROWS_AT as usize]).map_err(Error::io(&part.path))?;
        Ok(Self { path: path.to_path_buf(), part, out, crcs: Vec::new() })
    }

    /// Appends one row.
    pub(crate) fn push(&mut self, row: &[u8]) -> Result<()> {
        self.crcs.push(crc32c(row));
        self.out.write_all(row).map_err(Error::io(&self.part.path))
    }

    /// Writes tables and header, syncs and renames.
    pub(crate) fn finish(mut self, found: Found, fingerprint: u64, prep: &Preprocess) -> Result<()> {
        let io = |e| Error::Io { path: self.part.path.clone(), source: e };
        let (entries, meta) = arrange(found, &self.crcs);
        let mut tables: Vec<u8> = entries.iter().flat_map(|e| e.to_bytes()).collect();
        let json = serde_json::to_vec(&meta).map_err(|e| io(e.into()))?;
        tables.extend(&json);
        let header = Header {
            n: entries.len() as u64,
            side: prep.image_size,
            channels: prep.channels,
            fingerprint,
            meta_bytes: json.len() as u64,
            tables_crc: crc32c(&tables),
        };
        self.out.write_all(&tables).map_err(io)?;
        self.out.seek(SeekFrom::Start(0)).map_err(io)?;
        self.out.write_all(&header.to_bytes()).map_err(io)?;
        self.out.flush().map_err(io)?;
        self.out.get_ref().sync_all().map_err(io)?;
        fs::rename(&self.part.path, &self.path).map_err(Error::io(&self.path))?;
        self.part.keep = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
