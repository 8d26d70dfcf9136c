//! A work folder: the newest checkpoint, the one before it, and a lock, so that one run writes at a time and a run that is killed at any
//! moment leaves a folder that loads.
//!
//! ```text
//! checkpoint.safetensors            the newest
//! checkpoint.previous.safetensors   the one before
//! step-N.safetensors                kept for good: second names of the files above
//! .checkpoint.safetensors.….unfinished  being written, or left by a run that was killed; never read, swept by the next run
//! lock                              held by the run that writes
//! ```
//!
//! Saving writes and syncs the unfinished file, renames the newest to the previous and the unfinished to the newest, and syncs the folder.
//! Between the two renames there is no newest: loading then takes the previous, which is the last one reported as saved.
//! Nothing is written through a link that stands in the folder.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::checkpoint::container::{Checkpoint, Loaded};
use crate::checkpoint::files::{Files, OsFiles, keep, replace};
use crate::{Error, Result, files};

const NEWEST: &str = "checkpoint.safetensors";
const PREVIOUS: &str = "checkpoint.previous.safetensors";
/// A newest checkpoint that does not verify is kept under this name rather than in the place of the good previous one.
const DAMAGED: &str = "checkpoint.damaged.safetensors";
const LOCK: &str = "lock";

/// A folder that this process may write to.
pub struct WorkFolder {
    path: PathBuf,
    files: Box<dyn Files>,
    /// Held until drop; the system releases it too when the process dies.
    _lock: File,
    /// Whether the newest checkpoint was verified or written by this process.
    newest_is_good: bool,
}

impl std::fmt::Debug for WorkFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkFolder").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Loads from a work folder without its lock, for readers: a run may go on writing to it.
///
/// Gives none where there is no checkpoint. Errors: [`Error::Format`] where there are some but none verifies; [`Error::Io`].
pub fn load(folder: impl AsRef<Path>) -> Result<Option<Loaded>> {
    let folder = folder.as_ref();
    let newest = folder.join(NEWEST);
    let first = match open_verified(&newest)? {
        Some(Ok(checkpoint)) => return Ok(Some(Loaded { checkpoint, path: newest, note: None })),
        Some(Err(error)) => Some(error),
        None => None,
    };
    let previous = folder.join(PREVIOUS);
    match (open_verified(&previous)?, first) {
        (Some(Ok(checkpoint)), first) => {
            let reason = first.map_or_else(|| format!("there is no {NEWEST}"), |error| error.to_string());
            let note =
                format!("the checkpoint before the newest is taken (step {}): {reason}", checkpoint.step);
            Ok(Some(Loaded { checkpoint, path: previous, note: Some(note) }))
        }
        (Some(Err(second)), first) => {
            let first = first.map_or_else(|| format!("there is no {NEWEST}"), |error| error.to_string());
            Err(Error::format(folder, format!("no checkpoint in it can be read: {first}; {second}")))
        }
        (None, Some(first)) => Err(first),
        (None, None) => Ok(None),
    }
}

/// None where there is no such file; the inner error where its content is wrong.
fn open_verified(path: &Path) -> Result<Option<Result<Checkpoint>>> {
    match Checkpoint::open(path).and_then(|checkpoint| checkpoint.verify().map(|()| checkpoint)) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error @ Error::Io { .. }) => Err(error),
        result => Ok(Some(result)),
    }
}

impl WorkFolder {
    /// Makes the folder if need be and takes its lock. Errors: [`Error::Locked`] where another run has it; [`Error::Io`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::open_with(path, Box::new(OsFiles))
    }

    /// [`WorkFolder::open`], with the file system that `system` stands for.
    pub fn open_with(path: impl Into<PathBuf>, system: Box<dyn Files>) -> Result<Self> {
        let path = path.into();
        if path.is_file() {
            let taken = io::Error::new(io::ErrorKind::NotADirectory, "a file has this name; name a folder");
            return Err(Error::Io { path, source: taken });
        }
        fs::create_dir_all(&path).map_err(Error::io(&path))?;
        let lock = files::lock(&path.join(LOCK))?;
        files::sweep(&path);
        Ok(Self { path, files: system, _lock: lock, newest_is_good: false })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The newest checkpoint that verifies. See [`load`].
    pub fn load(&mut self) -> Result<Option<Loaded>> {
        let loaded = load(&self.path)?;
        self.newest_is_good = loaded.as_ref().is_some_and(|loaded| loaded.note.is_none());
        Ok(loaded)
    }

    /// Writes a checkpoint and keeps the one before. When this returns, the checkpoint survives a loss of power.
    ///
    /// Errors: [`Error::StorageFull`], [`Error::Io`]; the last checkpoint saved still loads then.
    pub fn save(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let newest = self.path.join(NEWEST);
        let staged = checkpoint.stage(self.files.as_ref(), &newest)?;
        if newest.exists() {
            if !self.newest_is_good {
                self.newest_is_good = matches!(open_verified(&newest)?, Some(Ok(_)));
            }
            let keep = self.path.join(if self.newest_is_good { PREVIOUS } else { DAMAGED });
            self.files.rename(&newest, &keep).map_err(Error::io(&keep))?;
        }
        replace(self.files.as_ref(), staged, &newest)?;
        self.newest_is_good = true;
        Ok(())
    }

    /// Keeps a checkpoint of this folder, by default the newest, under a name that later ones do not replace. It takes no room where the
    /// file system lets a file have two names. Gives the name.
    ///
    /// Errors: [`Error::StorageFull`], [`Error::Io`].
    pub fn keep(&self, checkpoint: Option<&Path>, step: u64) -> Result<PathBuf> {
        let newest = self.path.join(NEWEST);
        let kept = self.kept(step);
        keep(self.files.as_ref(), checkpoint.unwrap_or(&newest), &kept)?;
        Ok(kept)
    }

    /// Where [`WorkFolder::keep`] puts the checkpoint of a step.
    pub fn kept(&self, step: u64) -> PathBuf {
        self.path.join(format!("step-{step:08}.safetensors"))
    }

    /// A folder inside of this one, made where there is none. Errors: [`Error::Format`] where a link has its name; [`Error::Io`].
    pub fn inside(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        files::create_folder_inside(&path)?;
        Ok(path)
    }
}
