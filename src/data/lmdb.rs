//! LSUN as it is published: an LMDB whose values are picture files (WebP: with the feature `lsun`).
//!
//! A reader of the file, not of the database's locks: nobody writes to a published data set. The layout is that of
//! `mdb.c` (LMDB 0.9): pages of a fixed size, two of them meta pages of which the younger counts, a B+ tree of branch
//! and leaf pages, values over a page's size in overflow pages. 64-bit little-endian files only, as published.
//!
//! Written here rather than taken from a crate: `heed` and `lmdb` bind the C library, which maps the file and trusts it, so that a
//! hostile or a cut file ends the process instead of giving an error.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::decode::Limits;
use super::item::{Body, Item, Visit};
use crate::{Error, Result, files};

const MAGIC: u32 = 0xbeef_c0de;
const PAGE_HEADER: usize = 16;
const NODE_HEADER: usize = 8;
/// Flags of a page.
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const OVERFLOW: u16 = 4;
/// Flag of a node: its value lies in overflow pages. The others mean sub-databases, which LSUN has none of.
const BIG: u16 = 1;
/// Where a meta page keeps what is needed, behind its page header.
const META_PAGE_SIZE: usize = 24;
const META_ROOT: usize = 72 + 40;
const META_TXN: usize = 128;
const EMPTY: u64 = u64::MAX;
/// A tree of this depth has more pages than any disk.
const MAX_DEPTH: usize = 32;

/// Whether a file is the data file of an LMDB, by name.
pub(crate) fn is_lmdb_name(name: &str) -> bool {
    name.rsplit('/').next() == Some("data.mdb")
}

/// Visits every value in the order of the keys. `bedroom_train_lmdb/data.mdb` gives names like `train/bedroom/KEY`.
///
/// # Errors
/// [`Error::Io`], [`Error::Format`] where the tree is damaged.
pub(crate) fn read_file(path: &Path, limits: &Limits, visit: Visit) -> Result<()> {
    let (file, length) = files::open(path)?;
    read(file, length, path, limits, visit)
}

/// [`read_file`] from anything of `length` bytes; `path` gives the names.
pub(crate) fn read(
    file: impl Read + Seek,
    length: u64,
    path: &Path,
    limits: &Limits,
    visit: Visit,
) -> Result<()> {
    let mut lmdb = Lmdb { file, path, length, page_size: 0, left: 0, prefix: prefix_of(path), limits };
    let root = lmdb.open()?;
    lmdb.left = length / lmdb.page_size as u64;
    match root {
        EMPTY => Ok(()),
        root => lmdb.page(root, 0, visit),
    }
}

/// Split and category from the folder's name, as LSUN's own script writes it.
fn prefix_of(path: &Path) -> String {
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let stem = folder.strip_suffix("_lmdb").unwrap_or(&folder);
    match stem.rsplit_once('_') {
        Some((category, split @ ("train" | "val" | "test"))) => format!("{split}/{category}/"),
        _ => String::new(),
    }
}

struct Lmdb<'a, F> {
    file: F,
    path: &'a Path,
    length: u64,
    page_size: usize,
    /// Pages that may still be visited: more than there are means a loop.
    left: u64,
    prefix: String,
    limits: &'a Limits,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Root and transaction of a meta page.
fn parse_meta(page: &[u8]) -> Option<(u32, u64, u64)> {
    let meta = page.get(PAGE_HEADER..)?;
    let ours = u32_at(meta, 0)? == MAGIC && u32_at(meta, 4)? == 1;
    let fields = (u32_at(meta, META_PAGE_SIZE)?, u64_at(meta, META_ROOT)?, u64_at(meta, META_TXN)?);
    ours.then_some(fields)
}

/// A node of a page: where it points (a page, or its value) and its key.
struct Node<'p> {
    flags: u16,
    /// In a branch the page below, in a leaf the value's size.
    low: u64,
    key: &'p [u8],
    rest: &'p [u8],
}

fn node(page: &[u8], index: usize) -> Option<Node<'_>> {
    let at = usize::from(u16_at(page, PAGE_HEADER + 2 * index)?);
    let bytes = page.get(at..)?;
    let (flags, key_size) = (u16_at(bytes, 4)?, usize::from(u16_at(bytes, 6)?));
    let (key, rest) = bytes.get(NODE_HEADER..)?.split_at_checked(key_size)?;
    Some(Node { flags, low: u64::from(u32_at(bytes, 0)?), key, rest })
}

impl<F: Read + Seek> Lmdb<'_, F> {
    fn open(&mut self) -> Result<u64> {
        let first = self.read(0, PAGE_HEADER + META_TXN + 8)?;
        let Some((page_size, root, txn)) = parse_meta(&first) else {
            return Err(self.bad("not an LMDB of version 1, 64 bits, little endian"));
        };
        if !page_size.is_power_of_two() || !(512..=65_536).contains(&page_size) {
            return Err(self.bad(&format!("a page size of {page_size} bytes")));
        }
        self.page_size = page_size as usize;
        let second = self.read(page_size.into(), PAGE_HEADER + META_TXN + 8)?;
        Ok(match parse_meta(&second) {
            Some((_, younger, its)) if its > txn => younger,
            _ => root,
        })
    }

    fn page(&mut self, number: u64, depth: usize, visit: Visit) -> Result<()> {
        if depth > MAX_DEPTH || self.left == 0 {
            return Err(self.bad("its tree runs in a circle"));
        }
        self.left -= 1;
        let page = self.read(self.offset_of(number)?, self.page_size)?;
        let path = self.path;
        let damaged = || Error::format(path, format!("page {number} is damaged; fetch the file again"));
        let (flags, lower) = u16_at(&page, 10).zip(u16_at(&page, 12)).ok_or_else(damaged)?;
        let count = usize::from(lower).saturating_sub(PAGE_HEADER) / 2;
        match flags & (BRANCH | LEAF) {
            BRANCH => {
                for index in 0..count {
                    let node = node(&page, index).ok_or_else(damaged)?;
                    self.page(node.low | (u64::from(node.flags) << 32), depth + 1, visit)?;
                }
            }
            LEAF => {
                for index in 0..count {
                    let node = node(&page, index).ok_or_else(damaged)?;
                    let key = String::from_utf8_lossy(node.key).replace('/', "_");
                    let name = format!("{}{key}", self.prefix);
                    let body = match node.flags {
                        _ if node.low > self.limits.max_bytes => Body::Bad(format!(
                            "{} bytes, over the limit of {}",
                            node.low, self.limits.max_bytes
                        )),
                        0 => Body::Encoded(node.rest.get(..node.low as usize).ok_or_else(damaged)?.to_vec()),
                        BIG => {
                            Body::Encoded(self.overflow(u64_at(node.rest, 0).ok_or_else(damaged)?, node.low)?)
                        }
                        _ => return Err(self.bad("it holds several databases; LSUN's hold one")),
                    };
                    visit(Item { name, body })?;
                }
            }
            _ => return Err(damaged()),
        }
        Ok(())
    }

    fn overflow(&mut self, number: u64, size: u64) -> Result<Vec<u8>> {
        let at = self.offset_of(number)?;
        // The whole value has to lie in the file before anything is allocated for it.
        if at.saturating_add(PAGE_HEADER as u64 + size) > self.length {
            return Err(self.bad(&format!("a value of {size} bytes at page {number} goes beyond its end")));
        }
        let mut bytes = self.read(at, PAGE_HEADER + size as usize)?;
        if u16_at(&bytes, 10).is_none_or(|flags| flags & OVERFLOW == 0) {
            return Err(self.bad(&format!("page {number} should hold a value and does not")));
        }
        bytes.drain(..PAGE_HEADER);
        Ok(bytes)
    }

    fn offset_of(&self, page: u64) -> Result<u64> {
        let offset = page.checked_mul(self.page_size as u64);
        offset
            .filter(|at| *at < self.length)
            .ok_or_else(|| self.bad(&format!("page {page} lies beyond its end")))
    }

    fn read(&mut self, at: u64, size: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; size];
        self.file.seek(SeekFrom::Start(at)).map_err(Error::io(self.path))?;
        self.file.read_exact(&mut bytes).map_err(Error::io(self.path))?;
        Ok(bytes)
    }

    fn bad(&self, what: &str) -> Error {
        Error::format(self.path, what)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    /// 300 values, one of 5,000 bytes, written by LMDB 0.9.36 with pages of 4,096 bytes: a branch, leaves, overflow pages.
    fn fixture() -> Vec<u8> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../kernels-tests/fixtures/lmdb/data.mdb.gz");
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn read(bytes: &[u8], folder: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(folder).join("data.mdb");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        let mut out = Vec::new();
        read_file(&path, &Limits::default(), &mut |item| {
            if let Body::Encoded(bytes) = item.body {
                out.push((item.name, bytes));
            }
            Ok(())
        })?;
        Ok(out)
    }

    #[test]
    fn reads_what_lmdb_wrote() {
        let got = read(&fixture(), "church_outdoor_val_lmdb").unwrap();
        assert_eq!(got.len(), 300);
        for (i, (name, value)) in got.iter().enumerate() {
            assert_eq!(*name, format!("val/church_outdoor/key{i:04}"));
            let size = if i == 77 { 5000 } else { 20 + i % 7 };
            assert_eq!(*value, vec![(i % 251) as u8; size], "{i}");
        }
        assert_eq!(read(&fixture(), "mine").unwrap()[0].0, "key0000");
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let good = fixture();
        for keep in [0, 100, 4096, 8192, good.len() / 2] {
            assert!(read(&good[..keep], "x").is_err(), "{keep}");
        }
        // Two bytes at a time, where the file says something.
        let places: Vec<usize> = (0..good.len()).filter(|&i| good[i] != 0).step_by(17).collect();
        for at in places {
            let mut bytes = good.clone();
            bytes[at] ^= 0x55;
            bytes[(at + 1) % good.len()] ^= 0xff;
            let _ = read(&bytes, "x");
        }
    }

    #[test]
    fn a_circle_ends() {
        let mut bytes = fixture();
        // Every branch points at the root: page number 2 bytes wide in each node.
        let root = bytes.chunks(4096).position(|p| u16_at(p, 10) == Some(BRANCH)).unwrap();
        let start = root * 4096;
        let at = start + usize::from(u16_at(&bytes, start + PAGE_HEADER).unwrap());
        bytes[at..at + 2].copy_from_slice(&(root as u16).to_le_bytes());
        assert!(read(&bytes, "x").unwrap_err().to_string().contains("circle"));
    }
}
