//! Results on disk: where they may go, and images in every form that `--out` takes.

use std::path::Path;

/// Refuses a file that cannot be written before anything is computed.
pub fn check_writable(path: &Path) -> langevin::Result<()> {
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    if path.is_dir() {
        let problem = std::io::Error::new(std::io::ErrorKind::IsADirectory, "a folder has this name");
        return Err(langevin::Error::Io { path: path.to_path_buf(), source: problem });
    }
    if !folder.is_dir() {
        let missing = std::io::Error::new(std::io::ErrorKind::NotFound, "no such folder to write into");
        return Err(langevin::Error::Io { path: path.to_path_buf(), source: missing });
    }
    // Permissions say little to a superuser and on a read-only disk; a file that comes and goes says all.
    let probe = folder.join(format!(".gen-{}.probe", std::process::id()));
    std::fs::write(&probe, []).and_then(|()| std::fs::remove_file(&probe)).map_err(langevin::Error::io(path))
}
