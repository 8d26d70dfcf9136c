//! What writing a checkpoint asks of the file system, behind a trait so that a test can stop after each request.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Requests to the file system that change it.
pub trait Files: Send + Sync {
    /// A new, empty file; one of that name is emptied.
    fn create(&self, path: &Path) -> io::Result<Box<dyn SyncWrite>>;
    /// Gives a file another name; one of that name goes.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder survive a loss of power.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
}

/// A file that is being written.
pub trait SyncWrite: Write {
    /// Makes what was written survive a loss of power.
    fn sync(&mut self) -> io::Result<()>;
}

/// The file system itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsFiles;

impl SyncWrite for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

impl Files for OsFiles {
    fn create(&self, path: &Path) -> io::Result<Box<dyn SyncWrite>> {
        Ok(Box::new(File::create(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        // Windows has no such request: names are durable with the file.
        if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
    }
}

/// The folder of a file.
pub(super) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// `path` with a further suffix.
pub(super) fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Writes `path` + `.partial` by means of `body`, and syncs it. A file that could not be finished is removed.
///
/// `size` is what the file will take, for the message on a full disk.
pub(super) fn stage(
    files: &dyn Files,
    path: &Path,
    size: u64,
    body: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<PathBuf> {
    let partial = suffixed(path, ".partial");
    let write = || -> Result<()> {
        let file = files.create(&partial).map_err(Error::io(&partial))?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        body(&mut out)?;
        let mut file = out.into_inner().map_err(|error| Error::io(&partial)(error.into_error()))?;
        file.sync().map_err(Error::io(&partial))
    };
    match write() {
        Ok(()) => Ok(partial),
        Err(error) => {
            // Gives the space back; what remains after a failure here is overwritten next time.
            let _ = files.remove(&partial);
            match error {
                Error::Io { source, .. } if is_full(&source) => {
                    Err(Error::StorageFull { path: path.into(), needed: size })
                }
                error => Err(error),
            }
        }
    }
}

/// Renames a staged file to its name and syncs the folder.
pub(super) fn replace(files: &dyn Files, staged: &Path, path: &Path) -> Result<()> {
    files.rename(staged, path).map_err(Error::io(path))?;
    files.sync_folder(folder(path)).map_err(Error::io(path))
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}
