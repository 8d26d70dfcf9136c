//! What writing a checkpoint asks of the file system, behind a trait so that a test can stop after each request.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::files::{is_same, unguessable};
use crate::{Error, Result};

/// Requests to the file system that change it.
pub trait Files: Send + Sync {
    /// A new, empty file; an error where anything has that name, also a link.
    fn create(&self, path: &Path) -> io::Result<Box<dyn SyncWrite>>;
    /// Gives a file another name; one of that name goes.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name; where the file system has no such thing, makes an equal file that survives a loss of power.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
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
        let file = File::create_new(path)?;
        // What another process sweeps up is not locked.
        let _ = file.try_lock();
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        match fs::hard_link(from, to) {
            Err(error) if !matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {
                let copied =
                    fs::copy(from, to).and_then(|_| File::options().write(true).open(to)?.sync_all());
                copied.inspect_err(|_| drop(fs::remove_file(to)))
            }
            result => result,
        }
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

/// A file that is whole and synced and has not got its name yet.
pub(super) struct Staged {
    path: PathBuf,
    /// Open, and so locked, until it has its name.
    _file: Box<dyn SyncWrite>,
}

/// Writes a file beside `path`, under a name that nobody guesses, by means of `body`, and syncs it. A file that could not be finished
/// is removed.
///
/// `size` is what the file will take, for the message on a full disk.
pub(super) fn stage(
    files: &dyn Files,
    path: &Path,
    size: u64,
    body: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<Staged> {
    let unfinished = unguessable(path);
    let write = || -> Result<Box<dyn SyncWrite>> {
        let file = files.create(&unfinished).map_err(Error::io(path))?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        body(&mut out)?;
        let mut file = out.into_inner().map_err(|error| Error::io(path)(error.into_error()))?;
        file.sync().map_err(Error::io(path))?;
        Ok(file)
    };
    match write() {
        Ok(file) => Ok(Staged { path: unfinished, _file: file }),
        Err(error) => {
            // Gives the space back; what remains after a failure here is swept when the folder is used next.
            let _ = files.remove(&unfinished);
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
pub(super) fn replace(files: &dyn Files, staged: Staged, path: &Path) -> Result<()> {
    files.rename(&staged.path, path).map_err(Error::io(path))?;
    files.sync_folder(folder(path)).map_err(Error::io(path))
}

/// Gives the file `from` the further name `to`, also where another file has it.
pub(super) fn keep(files: &dyn Files, from: &Path, to: &Path) -> Result<()> {
    if is_same(from, to) {
        return Ok(());
    }
    let unfinished = unguessable(to);
    let kept = files.link(from, &unfinished).and_then(|()| files.rename(&unfinished, to));
    match kept {
        Ok(()) => files.sync_folder(folder(to)).map_err(Error::io(to)),
        Err(error) => {
            let _ = files.remove(&unfinished);
            match is_full(&error) {
                true => {
                    let needed = fs::metadata(from).map_or(0, |m| m.len());
                    Err(Error::StorageFull { path: to.into(), needed })
                }
                false => Err(Error::io(to)(error)),
            }
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}
