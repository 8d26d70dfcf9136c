//! Files that are whole or absent.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Where [`write_whole`] writes.
pub type Out<'a> = &'a mut BufWriter<File>;

/// Writes a file under another name beside it and renames it, so that no reader and no interruption sees half of it.
/// Makes the folder. What is no file (a pipe, `/dev/stdout`) is written to directly.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn write_whole(path: &Path, write: impl FnOnce(Out) -> io::Result<()>) -> Result<()> {
    let in_place = path.exists() && !path.is_file();
    let part = if in_place { path.to_path_buf() } else { part_of(path) };
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    let done = File::options()
        .write(true)
        .create(true)
        .truncate(!in_place)
        .open(&part)
        .and_then(|file| {
            let mut out = BufWriter::new(file);
            write(&mut out)?;
            out.flush()
        })
        .and_then(|()| if in_place { Ok(()) } else { fs::rename(&part, path) });
    if done.is_err() && !in_place {
        // The error above is the one to tell.
        let _ = fs::remove_file(&part);
    }
    done.map_err(Error::io(path))
}

fn part_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.part", std::process::id()))
}

#[cfg(test)]
mod tests {
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
