//! Files that are whole or absent.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::Path;

use crate::files::create_beside;
use crate::{Error, Result};

/// Where [`write_whole`] writes.
pub type Out<'a> = &'a mut BufWriter<File>;

/// Writes a file under another name beside it and renames it, so that no reader and no interruption sees half of it. A link is replaced,
/// not written through. Makes the folder. What is no file (a pipe, `/dev/stdout`) is written to directly.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn write_whole(path: &Path, write: impl FnOnce(Out) -> io::Result<()>) -> Result<()> {
    let fill = |file: File| {
        let mut out = BufWriter::new(file);
        write(&mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)
    };
    if path.exists() && !path.is_file() {
        let file = File::options().write(true).open(path).map_err(Error::io(path))?;
        return fill(file).map(drop).map_err(Error::io(path));
    }
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    let (file, unfinished) = create_beside(path).map_err(Error::io(path))?;
    // The file stays open, and so locked, until it has its name.
    let done = fill(file).and_then(|_file| fs::rename(&unfinished, path));
    if done.is_err() {
        // The error above is the one to tell.
        let _ = fs::remove_file(&unfinished);
    }
    done.map_err(Error::io(path))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn whole_or_absent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/folder/x.txt");
        write_whole(&path, |out| out.write_all(b"one")).unwrap();
        let failed = write_whole(&path, |out| {
            out.write_all(b"half")?;
            Err(io::Error::other("no more"))
        });
        assert!(failed.unwrap_err().to_string().contains("x.txt: no more"));
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        write_whole(&path, |out| out.write_all(b"two")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
    }

    #[test]
    fn a_folder_in_the_way_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(write_whole(dir.path(), |_| Ok(())), Err(Error::Io { .. })));
    }
}
