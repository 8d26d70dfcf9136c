//! Files that are opened and created so that neither a pipe, a device nor a link in their place does harm.
//!
//! Reading takes regular files only. Writing never goes through a link: a new file has a name that nobody can guess, is made only
//! where nothing has that name, and gets its own name when it is whole.
//!
//! ```
//! use langevin::files;
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("notes.toml");
//! std::fs::write(&path, "seed = 1")?;
//! assert_eq!(files::read_text(&path)?, "seed = 1");
//! assert!(files::read_text(folder.path()).is_err(), "a folder is no file");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::hash_map::RandomState;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::TEXT_BYTES;
use crate::{Error, Result};

/// Ending of files that are not whole yet.
const UNFINISHED: &str = ".unfinished";

/// Opens a regular file for reading, and gives its length.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] for a folder, a pipe or a device.
pub fn open(path: impl AsRef<Path>) -> Result<(File, u64)> {
    let path = path.as_ref();
    // Asked before: opening a pipe waits for its other end, and opening a device may do something.
    refuse_special(path, &fs::metadata(path).map_err(Error::io(path))?)?;
    let file = reading().open(path).map_err(Error::io(path))?;
    let metadata = file.metadata().map_err(Error::io(path))?;
    refuse_special(path, &metadata)?;
    Ok((file, metadata.len()))
}

/// Options that do not wait where a pipe took the file's place in the meantime.
fn reading() -> OpenOptions {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    options
}

fn refuse_special(path: &Path, metadata: &fs::Metadata) -> Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let what = if metadata.is_dir() { "a folder" } else { "a pipe or device" };
    Err(Error::format(path, format!("it is {what}, where a file is read")))
}

/// The bytes of a regular file of at most `most` bytes.
///
/// # Errors
/// As [`open`]; [`Error::Format`] where the file is longer.
pub fn read(path: impl AsRef<Path>, most: u64) -> Result<Vec<u8>> {
    let path = path.as_ref();
    let (file, length) = open(path)?;
    if length > most {
        return Err(too_long(path, length, most));
    }
    bounded(path, file, most)
}

/// The text of a regular file, or of a pipe that the shell made (`/dev/stdin`, `/dev/fd/63`), of at most [`TEXT_BYTES`].
///
/// # Errors
/// As [`read`]; [`Error::Format`] where it is not UTF-8.
pub fn read_text(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    let handed_over = ["/dev/stdin", "/dev/fd/", "/proc/self/fd/"];
    let bytes =
        match handed_over.iter().any(|from| path.as_os_str().as_encoded_bytes().starts_with(from.as_bytes()))
        {
            true => bounded(path, File::open(path).map_err(Error::io(path))?, TEXT_BYTES)?,
            false => read(path, TEXT_BYTES)?,
        };
    String::from_utf8(bytes).map_err(|e| Error::format(path, format!("it is no text: {}", e.utf8_error())))
}

/// Also where the file grew since its length was asked for.
fn bounded(path: &Path, file: File, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(Error::io(path))?;
    match bytes.len() as u64 > most {
        true => Err(too_long(path, bytes.len() as u64, most)),
        false => Ok(bytes),
    }
}

fn too_long(path: &Path, length: u64, most: u64) -> Error {
    Error::format(path, format!("it has {length} bytes or more, at most {most} are read here"))
}

/// A new file beside `target` that nothing else has, locked as long as it is open so that [`sweep`] leaves it alone.
///
/// # Errors
/// What the system says.
pub fn create_beside(target: &Path) -> io::Result<(File, PathBuf)> {
    loop {
        let path = unguessable(target);
        let file = match File::options().read(true).write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            result => result?,
        };
        // Where a file system has no locks, nothing is swept either.
        let _ = file.try_lock();
        // Swept between its creation and its lock.
        if fs::symlink_metadata(&path).is_ok() {
            return Ok((file, path));
        }
    }
}

/// The name of an unfinished file: that of `target` with a dot in front and 64 random bits behind.
pub(crate) fn unguessable(target: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // The system's own randomness, by way of the standard library's seeds.
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(COUNT.fetch_add(1, Ordering::Relaxed));
    // Short, since file systems limit a name to 255 bytes.
    let name: String = target.file_name().unwrap_or_default().to_string_lossy().chars().take(40).collect();
    target.with_file_name(format!(".{name}.{:016x}{UNFINISHED}", hasher.finish()))
}

/// Removes what runs that were killed left unfinished in `folder`; files that somebody still writes are locked and stay.
/// Failure is no error: what stays is only in the way.
pub fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let ours = name.as_encoded_bytes().starts_with(b".")
            && name.as_encoded_bytes().ends_with(UNFINISHED.as_bytes());
        if !ours || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let path = entry.path();
        if let Ok(file) = existing().open(&path)
            && file.try_lock().is_ok()
        {
            let _ = fs::remove_file(&path);
        }
    }
}

/// Options for a file that is there, and is no link.
fn existing() -> OpenOptions {
    let mut options = reading();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK | libc::O_NOFOLLOW);
    options
}

/// Opens a file to append to, or makes it; never through a link.
///
/// # Errors
/// [`Error::Io`], [`Error::Format`] where a link or something else than a file has the name.
pub fn append(path: &Path) -> Result<File> {
    refuse_link(path)?;
    let mut options = existing();
    options.read(true).append(true).create(true);
    let file = options.open(path).map_err(Error::io(path))?;
    refuse_special(path, &file.metadata().map_err(Error::io(path))?)?;
    Ok(file)
}

/// Refuses a name that is a link: what it leads to belongs to somebody else. A name that does not exist is fine.
///
/// # Errors
/// [`Error::Format`].
pub fn refuse_link(path: &Path) -> Result<()> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.is_symlink() {
        return Ok(());
    }
    let to = fs::read_link(path).unwrap_or_default();
    let to = to.to_string_lossy();
    let problem = format!(
        "it is a link to {}, which is not written through; remove the link or name another folder",
        crate::limits::shown(&to)
    );
    Err(Error::format(path, problem))
}

/// Makes a folder, and those that it lies in, where there is none.
///
/// # Errors
/// [`Error::Io`].
pub fn create_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::io(folder))
}

/// Fails where there is nothing of this name.
///
/// # Errors
/// [`Error::Io`], in the system's own words.
pub fn check_exists(path: &Path) -> Result<()> {
    fs::metadata(path).map(drop).map_err(Error::io(path))
}

/// Makes `folder` inside of another one, and refuses a link in its place.
///
/// # Errors
/// [`Error::Io`], [`Error::Format`].
pub fn create_folder_inside(folder: &Path) -> Result<()> {
    refuse_link(folder)?;
    fs::create_dir_all(folder).map_err(Error::io(folder))
}

/// Whether both names lead to one file or folder, links resolved.
pub fn is_same(a: &Path, b: &Path) -> bool {
    match (identity(a), identity(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

/// What tells files and folders apart whatever their name: device and inode, or the real path.
#[cfg(unix)]
pub(crate) fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// What tells files and folders apart whatever their name: device and inode, or the real path.
#[cfg(not(unix))]
pub(crate) fn identity(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

/// Takes a lock file, which holds its owner's process number: never through a link, and nothing that is no lock is written to.
///
/// # Errors
/// [`Error::Locked`] where another process has it; [`Error::Format`] where another kind of file has its name; [`Error::Io`].
pub fn lock(path: &Path) -> Result<File> {
    refuse_link(path)?;
    let mut options = existing();
    let mut lock = options.create(true).open(path).map_err(Error::io(path))?;
    refuse_special(path, &lock.metadata().map_err(Error::io(path))?)?;
    let mut holder = Vec::new();
    (&mut lock).take(64).read_to_end(&mut holder).map_err(Error::io(path))?;
    let holder = String::from_utf8_lossy(&holder);
    let number = holder.trim();
    if !number.bytes().all(|b| b.is_ascii_digit()) || number.len() > 20 {
        return Err(Error::format(
            path,
            "it holds something else than the lock of a run; name another folder, or move it away",
        ));
    }
    match lock.try_lock() {
        Ok(()) => {
            // The number only helps people; the lock itself is the system's.
            let _ = io::Seek::rewind(&mut lock)
                .and_then(|()| lock.set_len(0))
                .and_then(|()| writeln!(lock, "{}", std::process::id()));
            Ok(lock)
        }
        Err(TryLockError::WouldBlock) => {
            let holder =
                if number.is_empty() { "another process".into() } else { format!("process {number}") };
            Err(Error::Locked { path: path.into(), holder })
        }
        Err(TryLockError::Error(error)) => Err(Error::io(path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.toml");
        fs::write(&path, "seed = 1").unwrap();
        assert_eq!(read_text(&path).unwrap(), "seed = 1");
        fs::write(&path, [0xff]).unwrap();
        assert!(read_text(&path).unwrap_err().to_string().contains("no text"));
        File::create(&path).unwrap().set_len(TEXT_BYTES + 1).unwrap();
        assert!(read_text(&path).unwrap_err().to_string().contains("at most 1048576"));
        assert!(read(dir.path(), 9).unwrap_err().to_string().contains("a folder"));
    }

    #[test]
    fn what_nobody_writes_any_more_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let (file, held) = create_beside(&dir.path().join("x.png")).unwrap();
        let (left, path) = create_beside(&dir.path().join("x.png")).unwrap();
        assert_ne!(held, path);
        drop(left);
        fs::write(dir.path().join("mine.unfinished"), "").unwrap();
        sweep(dir.path());
        assert!(held.exists() && !path.exists() && dir.path().join("mine.unfinished").exists());
        drop(file);
    }

    #[cfg(unix)]
    #[test]
    fn special_files_are_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let devices = [pipe.as_path(), Path::new("/dev/zero")];
        for path in devices {
            assert!(open(path).unwrap_err().to_string().contains("pipe or device"), "{}", path.display());
            assert!(read_text(path).is_err());
        }
        assert!(append(&pipe).is_err() && lock(&pipe).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn nothing_is_written_through_a_link_or_into_another_file() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, link) = (dir.path().join("victim"), dir.path().join("lock"));
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        for error in [lock(&link).unwrap_err(), append(&link).unwrap_err()] {
            assert!(error.to_string().contains("link to"), "{error}");
        }
        fs::remove_file(&link).unwrap();
        fs::hard_link(&victim, &link).unwrap();
        assert!(lock(&link).unwrap_err().to_string().contains("something else"));
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert!(
            is_same(&victim, &link)
                && !is_same(&victim, dir.path())
                && !is_same(&victim, Path::new("nowhere"))
        );
    }

    #[test]
    fn one_process_holds_a_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        fs::write(&path, "123456789\n").unwrap();
        let held = lock(&path).unwrap();
        let error = lock(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(held);
        lock(&path).unwrap();
    }
}
