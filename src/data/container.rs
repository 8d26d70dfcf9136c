//! Where pictures lie: folders, tar (plain, gzip, xz), zip, CIFAR-10's binary files, TFRecords, LMDB, single files.
//!
//! [`walk`] names every picture once, in a fixed order, and leaves decoding to others. A container is known by its
//! first bytes, not by its name. Names never become paths: nothing is unpacked to disk.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::decode::{Limits, is_image_name};
use super::item::{Body, Item, Visit};
use super::{cifar, lmdb, tfrecord};
use crate::formats::zip::ZipReader;
use crate::{Error, Result};

/// Folders inside folders; deeper ones are loops of links.
const MAX_DEPTH: usize = 16;

/// An honest archive of pictures unpacks to a few times its size; 1,000 is what xz makes of zeros.
const MAX_RATIO: u64 = 100;
const FREE_BYTES: u64 = 64 << 20;

/// Memory for the window of an xz reader, in KiB: the preset -9 needs 64 MiB.
const XZ_WINDOW_KIB: u32 = 192 << 10;

/// Visits every picture under `path`. `image_size` chooses among TFRecord files of several resolutions. Returns how many
/// files were no pictures.
///
/// # Errors
/// [`Error::Io`], or [`Error::Format`] where an archive is damaged: half a data set is not one.
pub(crate) fn walk(path: &Path, image_size: Option<u32>, limits: &Limits, visit: Visit) -> Result<u64> {
    let mut walk = Walk { root: path, image_size, limits, visit, ignored: 0 };
    if fs::metadata(path).map_err(Error::io(path))?.is_dir() {
        let mut files = Vec::new();
        list(path, "", &mut Vec::new(), &mut files)?;
        walk.files(files)?;
    } else {
        walk.single()?;
    }
    Ok(walk.ignored)
}

/// Every file under `folder` as (name with `/`, path), sorted by name.
pub(crate) fn list_files(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    list(folder, "", &mut Vec::new(), &mut files)?;
    Ok(files)
}

fn list(
    folder: &Path,
    prefix: &str,
    above: &mut Vec<PathBuf>,
    out: &mut Vec<(String, PathBuf)>,
) -> Result<()> {
    let real = folder.canonicalize().map_err(Error::io(folder))?;
    if above.contains(&real) || above.len() >= MAX_DEPTH {
        return Ok(());
    }
    above.push(real);
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        entries.push((entry.file_name().to_string_lossy().into_owned(), entry));
    }
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    for (name, entry) in entries {
        let path = entry.path();
        let kind = entry.file_type().map_err(Error::io(&path))?;
        // A link that leads nowhere is a file that cannot be read, and is reported as one.
        let is_dir = kind.is_dir() || kind.is_symlink() && path.is_dir();
        let name = format!("{prefix}{name}");
        if is_dir {
            list(&path, &format!("{name}/"), above, out)?;
        } else {
            out.push((name, path));
        }
    }
    above.pop();
    Ok(())
}

struct Walk<'a> {
    root: &'a Path,
    image_size: Option<u32>,
    limits: &'a Limits,
    visit: Visit<'a>,
    ignored: u64,
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
                    self.ignored += 1;
                    continue;
                }
                let file = File::open(path).map_err(Error::io(path))?;
                self.entry(name, BufReader::new(file), None)?;
            } else {
                self.ignored += 1;
            }
        }
        Ok(())
    }

    /// A single file: an archive or a picture, by its first bytes; records and CIFAR's batches by name.
    fn single(&mut self) -> Result<()> {
        let mut file = File::open(self.root).map_err(Error::io(self.root))?;
        let packed = file.metadata().map_err(Error::io(self.root))?.len();
        let mut magic = Vec::new();
        (&mut file).take(512).read_to_end(&mut magic).map_err(Error::io(self.root))?;
        file.seek(SeekFrom::Start(0)).map_err(Error::io(self.root))?;
        let file = BufReader::with_capacity(1 << 16, file);
        let name = self.root.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let most = packed.saturating_mul(MAX_RATIO).saturating_add(FREE_BYTES);
        if magic.starts_with(b"\xfd7zXZ\0") {
            let inner = lzma_rust2::XzReader::new_mem_limit(file, true, XZ_WINDOW_KIB);
            self.tar(Bounded { inner, left: most })
        } else if magic.starts_with(b"\x1f\x8b") {
            self.tar(Bounded { inner: flate2::read::MultiGzDecoder::new(file), left: most })
        } else if magic.get(257..262) == Some(b"ustar") {
            self.tar(file)
        } else if magic.starts_with(b"PK\x03\x04") || magic.starts_with(b"PK\x05\x06") {
            self.zip(file)
        } else if is_image_name(&name) {
            (self.visit)(Item { name, body: Body::File(self.root.to_path_buf()) })
        } else if lmdb::is_lmdb_name(&name) {
            lmdb::read_file(self.root, self.limits, self.visit)
        } else if cifar::is_batch_name(&name) || tfrecord::is_record_name(&name) {
            self.entry(&name, file, None)
        } else {
            let kinds =
                "a folder, tar (.gz, .xz), zip, CIFAR-10 binary batch, .tfrecord(s) file, PNG or JPEG";
            Err(Error::format(self.root, format!("not a data set that can be read; known are: {kinds}")))
        }
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

    fn zip(&mut self, file: BufReader<File>) -> Result<()> {
        let mut zip = ZipReader::open(file, self.root)?;
        for i in 0..zip.entries().len() {
            let name = zip.entries()[i].name.replace('\\', "/");
            let name = name.trim_start_matches("./").to_string();
            if name.ends_with('/') {
                continue;
            }
            if is_image_name(&name) {
                let body = match zip.read(i, self.limits.max_bytes) {
                    Ok(bytes) => Body::Encoded(bytes),
                    Err(e) => Body::Bad(e.to_string()),
                };
                (self.visit)(Item { name, body })?;
            } else if cifar::is_batch_name(&name) {
                let bytes = zip.read(i, cifar::MAX_BATCH_BYTES)?;
                self.entry(&name, bytes.as_slice(), Some(bytes.len() as u64))?;
            } else {
                self.ignored += 1;
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
            self.ignored += 1;
            Ok(())
        }
    }
}

/// Stops a stream that unpacks to far more than any archive of pictures does.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| {
            io::Error::other(format!(
                "it unpacks to over {MAX_RATIO} times its size, which no archive of pictures does"
            ))
        })?;
        Ok(n)
    }
}

#[cfg(test)]
mod tests;
