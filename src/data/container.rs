//! Where pictures lie: folders, tar (plain, gzip, xz), zip, CIFAR-10's binary files, TFRecords, LMDB, single files.
//!
//! [`walk`] names every picture once, in a fixed order, and leaves decoding to others. A container is known by its
//! first bytes, not by its name. Names never become paths: nothing is unpacked to disk. Archives may unpack to a bounded multiple
//! of their size.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::decode::{Limits, is_image_name};
use super::item::{Body, Item, Visit};
use super::left_out::{self, LeftOut};
use super::{cifar, lmdb, tfrecord};
use crate::formats::zip::ZipReader;
use crate::limits::Unpacking;
use crate::{Error, Result, files};

/// Memory for the window of an xz reader, in KiB: the preset -9 needs 64 MiB.
const XZ_WINDOW_KIB: u32 = 96 << 10;

/// Visits every picture under `path`. `image_size` chooses among TFRecord files of several resolutions. Returns what was left out.
///
/// # Errors
/// [`Error::Io`], or [`Error::Format`] where an archive is damaged: half a data set is not one.
pub(crate) fn walk(path: &Path, image_size: Option<u32>, limits: &Limits, visit: Visit) -> Result<LeftOut> {
    let mut walk = Walk { root: path, image_size, limits, visit, left_out: LeftOut::default() };
    if fs::metadata(path).map_err(Error::io(path))?.is_dir() {
        let (files, left_out) = list_files(path)?;
        walk.left_out = left_out;
        walk.files(files)?;
    } else {
        walk.single()?;
    }
    Ok(walk.left_out)
}

/// Visits every picture of an archive of `packed` bytes that is no file; `root` names it in errors.
#[cfg(fuzzing)]
pub(crate) fn walk_archive(
    file: impl Read + Seek,
    packed: u64,
    root: &Path,
    limits: &Limits,
    visit: Visit,
) -> Result<LeftOut> {
    let mut walk = Walk { root, image_size: None, limits, visit, left_out: LeftOut::default() };
    walk.archive(file, packed)?;
    Ok(walk.left_out)
}

/// Every file under `folder` as (name with `/`, path), sorted by name, and the hidden and service folders and files, which are left out.
///
/// A folder that several links lead to is visited once, under the name where it really lies if that is inside, and a link to a
/// folder above is a loop and not followed.
pub(crate) fn list_files(folder: &Path) -> Result<(Vec<(String, PathBuf)>, LeftOut)> {
    let real = folder.canonicalize().map_err(Error::io(folder))?;
    let mut seen: HashSet<_> = real.ancestors().filter_map(files::identity).collect();
    let (mut found, mut outside) = (Vec::new(), Vec::new());
    let mut folders = vec![(String::new(), folder.to_path_buf())];
    // Behind all real folders, the nearest first.
    let mut linked: VecDeque<(String, PathBuf)> = VecDeque::new();
    loop {
        let next = folders.pop().or_else(|| {
            let mut unseen = |path: &PathBuf| files::identity(path).is_some_and(|id| seen.insert(id));
            std::iter::from_fn(|| linked.pop_front()).find(|(_, path)| unseen(path))
        });
        let Some((prefix, path)) = next else { break };
        let mut links = Vec::new();
        for entry in fs::read_dir(&path).map_err(Error::io(&path))? {
            let entry = entry.map_err(Error::io(&path))?;
            let inside = entry.path();
            let kind = entry.file_type().map_err(Error::io(&inside))?;
            let own = entry.file_name().to_string_lossy().into_owned();
            let name = format!("{prefix}{own}");
            if let Some(why) = left_out::reason(&own) {
                let mark = if kind.is_dir() { "/" } else { "" };
                outside.push((format!("{name}{mark}"), why));
                continue;
            }
            if kind.is_dir() {
                if files::identity(&inside).is_some_and(|id| seen.insert(id)) {
                    folders.push((format!("{name}/"), inside));
                }
            } else if kind.is_symlink() && inside.is_dir() {
                links.push((format!("{name}/"), inside));
            } else {
                // A link that leads nowhere is a file that cannot be read, and is reported as one.
                found.push((name, inside));
            }
        }
        links.sort_unstable();
        linked.extend(links);
    }
    found.sort_unstable_by(|(a, _), (b, _)| a.split('/').cmp(b.split('/')));
    outside.sort_unstable();
    let mut left_out = LeftOut::default();
    outside.iter().for_each(|(name, why)| left_out.add(name, why));
    Ok((found, left_out))
}

struct Walk<'a> {
    root: &'a Path,
    image_size: Option<u32>,
    limits: &'a Limits,
    visit: Visit<'a>,
    left_out: LeftOut,
}

impl Walk<'_> {
    fn files(&mut self, files: Vec<(String, PathBuf)>) -> Result<()> {
        let names: Vec<&str> = files.iter().map(|(n, _)| n.as_str()).collect();
        let chosen = self.image_size.and_then(|size| tfrecord::resolution_to_read(&names, size));
        for (name, path) in &files {
            if is_image_name(name) {
                (self.visit)(Item { name: name.clone(), body: Body::File(path.clone()) })?;
            } else if lmdb::is_lmdb_name(name) {
                lmdb::read_file(path, self.limits, self.visit)?;
            } else if cifar::is_batch_name(name) || tfrecord::is_record_name(name) {
                if chosen.as_ref().is_some_and(|c| tfrecord::is_record_name(name) && !name.contains(c)) {
                    self.left_out.add(name, "of another resolution");
                    continue;
                }
                self.entry(name, BufReader::new(files::open(path)?.0), None)?;
            } else {
                self.left_out.add(name, left_out::kind(name));
            }
        }
        Ok(())
    }

    /// A single file: an archive or a picture, by its first bytes; records and CIFAR's batches by name.
    fn single(&mut self) -> Result<()> {
        let (mut file, packed) = files::open(self.root)?;
        if self.archive(&mut file, packed)? {
            return Ok(());
        }
        let name = self.root.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if is_image_name(&name) {
            (self.visit)(Item { name, body: Body::File(self.root.to_path_buf()) })
        } else if lmdb::is_lmdb_name(&name) {
            lmdb::read_file(self.root, self.limits, self.visit)
        } else if cifar::is_batch_name(&name) || tfrecord::is_record_name(&name) {
            self.entry(&name, BufReader::with_capacity(1 << 16, file), None)
        } else {
            let kinds = "a folder, tar (.gz, .xz), zip, CIFAR-10 binary batch, .tfrecord(s) file, or a picture (PNG, JPEG, WebP, BMP, GIF, TIFF)";
            Err(Error::format(self.root, format!("not a data set that can be read; known are: {kinds}")))
        }
    }

    /// Visits the pictures of an archive of `packed` bytes. False where the first bytes are of none; the file is at its beginning then.
    fn archive(&mut self, mut file: impl Read + Seek, packed: u64) -> Result<bool> {
        let mut magic = Vec::new();
        (&mut file).take(512).read_to_end(&mut magic).map_err(Error::io(self.root))?;
        file.seek(SeekFrom::Start(0)).map_err(Error::io(self.root))?;
        let file = BufReader::with_capacity(1 << 16, file);
        let unpacking = Unpacking::of(packed);
        if magic.starts_with(b"\xfd7zXZ\0") {
            self.tar(unpacking.bound(lzma_rust2::XzReader::new_mem_limit(file, true, XZ_WINDOW_KIB)))?;
        } else if magic.starts_with(b"\x1f\x8b") {
            self.tar(unpacking.bound(flate2::read::MultiGzDecoder::new(file)))?;
        } else if magic.get(257..262) == Some(b"ustar") {
            self.tar(file)?;
        } else if magic.starts_with(b"PK\x03\x04") || magic.starts_with(b"PK\x05\x06") {
            self.zip(file, unpacking)?;
        } else {
            file.into_inner().seek(SeekFrom::Start(0)).map_err(Error::io(self.root))?;
            return Ok(false);
        }
        Ok(true)
    }

    fn tar(&mut self, stream: impl Read) -> Result<()> {
        let mut archive = tar::Archive::new(BufReader::with_capacity(1 << 16, stream));
        let mut seen = 0u64;
        let root = self.root;
        let damaged = |seen: u64, e: io::Error| {
            Error::format(root, format!("damaged after {seen} files: {e}; fetch the archive again"))
        };
        for entry in archive.entries().map_err(|e| damaged(0, e))? {
            let mut entry = entry.map_err(|e| damaged(seen, e))?;
            seen += 1;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).replace('\\', "/");
            let name = name.trim_start_matches("./").to_string();
            let size = entry.size();
            if self.left_out.is_outside(&name) {
                continue;
            }
            if is_image_name(&name) && size <= self.limits.max_bytes {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).map_err(|e| damaged(seen, e))?;
                if bytes.len() as u64 != size {
                    return Err(damaged(seen, io::ErrorKind::UnexpectedEof.into()));
                }
                (self.visit)(Item { name, body: Body::Encoded(bytes) })?;
            } else {
                self.entry(&name, entry, Some(size))?;
            }
        }
        // The checksums of what was read may lie behind it.
        io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(|e| damaged(seen, e))?;
        Ok(())
    }

    fn zip(&mut self, file: impl Read + Seek, mut left: Unpacking) -> Result<()> {
        let mut zip = ZipReader::open(file, self.root)?;
        let root = self.root;
        // What an entry claims is what it unpacks to at most: the reader holds it to that.
        let mut take = |size| left.take(size).map_err(|problem| Error::format(root, problem));
        for i in 0..zip.entries().len() {
            let size = zip.entries()[i].size;
            let name = zip.entries()[i].name.replace('\\', "/");
            let name = name.trim_start_matches("./").to_string();
            if name.ends_with('/') || self.left_out.is_outside(&name) {
                continue;
            }
            if is_image_name(&name) {
                if size <= self.limits.max_bytes {
                    take(size)?;
                }
                let body = match zip.read(i, self.limits.max_bytes) {
                    Ok(bytes) => Body::Encoded(bytes),
                    Err(e) => Body::Bad(e.to_string()),
                };
                (self.visit)(Item { name, body })?;
            } else if cifar::is_batch_name(&name) {
                take(size)?;
                let bytes = zip.read(i, cifar::MAX_BATCH_BYTES)?;
                self.entry(&name, bytes.as_slice(), Some(bytes.len() as u64))?;
            } else {
                self.left_out.add(&name, left_out::kind(&name));
            }
        }
        Ok(())
    }

    /// A file that is not a picture itself but may hold some.
    fn entry(&mut self, name: &str, reader: impl Read, size: Option<u64>) -> Result<()> {
        if is_image_name(name) {
            let why = format!("{} bytes, over the limit of {}", size.unwrap_or(0), self.limits.max_bytes);
            (self.visit)(Item { name: name.to_string(), body: Body::Bad(why) })
        } else if cifar::is_batch_name(name) {
            cifar::read_batch(name, reader, self.root, self.visit)
        } else if tfrecord::is_record_name(name) {
            tfrecord::read_file(name, reader, self.root, self.limits, self.visit)
        } else {
            self.left_out.add(name, left_out::kind(name));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
