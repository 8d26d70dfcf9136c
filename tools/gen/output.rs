//! Results on disk: where they may go, and images in every form that `--out` takes.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use langevin::output::Provenance;
use langevin::pipeline::Images;
use langevin::{Error, files};

use crate::exit::Usage;
use crate::folder::Held;
use crate::print;

/// What `--out` asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Grid,
    Folder,
    Safetensors,
    Npz,
    /// `-`: the grid on stdout.
    Stdout,
}

/// A place for images, known to be writable before anything is computed.
#[derive(Debug)]
pub struct Out {
    path: PathBuf,
    form: Form,
}

impl Out {
    /// Reads the form from the ending, and tries the place.
    pub fn new(path: &Path) -> anyhow::Result<Self> {
        let out = Self::planned(path)?;
        match out.form {
            Form::Folder => {
                std::fs::create_dir_all(path).map_err(Error::io(path))?;
                check_writable(&path.join("probe"))?;
            }
            Form::Stdout => print::lines_to_stderr(),
            _ => check_writable(path)?,
        }
        Ok(out)
    }

    /// [`Out::new`] for a dry run, which leaves no folder behind.
    pub fn planned(path: &Path) -> anyhow::Result<Self> {
        let form = form(path)?;
        match form {
            Form::Folder => {
                // Behind a file's name a trailing slash hides the file.
                let bare: PathBuf = path.components().collect();
                if bare.metadata().is_ok_and(|m| !m.is_dir()) {
                    let problem = "a file has this name, where a folder is meant; a .png, .safetensors or .npz is one file";
                    let source = std::io::Error::new(std::io::ErrorKind::NotADirectory, problem);
                    return Err(Error::Io { path: path.to_path_buf(), source }.into());
                }
            }
            Form::Stdout if std::io::stdout().is_terminal() => {
                let problem = "--out -: stdout is a terminal; send it to a file or a program";
                return Err(Usage(problem.into()).into());
            }
            Form::Stdout => {}
            _ => check_writable(path)?,
        }
        Ok(Self { path: path.to_path_buf(), form })
    }

    /// Refuses `--json` where stdout carries the picture.
    pub fn check_json(&self, json: bool) -> Result<(), Usage> {
        match json && self.form == Form::Stdout {
            true => Err(Usage("--json and --out - both take stdout; give --out a file".into())),
            false => Ok(()),
        }
    }

    /// Whether each image is a file of its own.
    pub fn is_folder(&self) -> bool {
        self.form == Form::Folder
    }

    /// What the folder holds of this run already; none where the form is no folder.
    ///
    /// # Errors
    /// A [`Usage`] where it holds pictures of something else, unless `overwrite`.
    pub fn held(&self, provenance: &Provenance, overwrite: bool) -> anyhow::Result<Held> {
        match self.form {
            Form::Folder => Held::look(&self.path, provenance, overwrite),
            _ => Ok(Held::default()),
        }
    }

    /// Writes the images: a grid of `columns` or as many rows as columns, an array, or a file for each under its name. Says which are blank, with
    /// `--quiet` too: a black image is never written without a word.
    pub fn write(
        &self,
        images: &Images,
        columns: Option<usize>,
        provenance: &Provenance,
    ) -> langevin::Result<()> {
        if self.form != Form::Safetensors {
            warn_of_blank(blank(images)?, images.len());
        }
        self.write_as_is(images, columns, provenance)
    }

    /// [`Out::write`] without a look at the images.
    pub fn write_as_is(
        &self,
        images: &Images,
        columns: Option<usize>,
        provenance: &Provenance,
    ) -> langevin::Result<()> {
        let images = images.clone().with_about(provenance.clone());
        match self.form {
            Form::Stdout => print::raw(&images.grid_of(columns)?.png()?).map_err(Error::io("stdout")),
            Form::Grid => images.grid_of(columns)?.save(&self.path),
            Form::Folder => images.save_each(&self.path),
            Form::Npz => images.save_npz(&self.path),
            Form::Safetensors => images.save_safetensors(&self.path),
        }
    }

    /// Whether it is one picture of all images.
    pub fn is_grid(&self) -> bool {
        matches!(self.form, Form::Grid | Form::Stdout)
    }
}

fn form(out: &Path) -> Result<Form, Usage> {
    let ending = out.extension().map(|e| e.to_string_lossy().to_lowercase());
    // Windows takes both separators.
    let ends_open = out.as_os_str().to_string_lossy().ends_with(std::path::is_separator);
    match ending.as_deref() {
        _ if out.as_os_str() == "-" => Ok(Form::Stdout),
        _ if out.is_dir() || ends_open => Ok(Form::Folder),
        None => Ok(Form::Folder),
        Some("png") => Ok(Form::Grid),
        Some("safetensors") => Ok(Form::Safetensors),
        Some("npz") => Ok(Form::Npz),
        Some(other) => Err(Usage(format!(
            "--out {}: .{other} is none of .png, .safetensors, .npz; a folder ends with /",
            out.display()
        ))),
    }
}

/// Refuses a file that cannot be written before anything is computed.
pub fn check_writable(path: &Path) -> langevin::Result<()> {
    let refused = |kind, problem: &str| {
        Err(Error::Io { path: path.to_path_buf(), source: std::io::Error::new(kind, problem) })
    };
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    if path.is_dir() {
        return refused(std::io::ErrorKind::IsADirectory, "a folder has this name");
    }
    if !folder.is_dir() {
        return refused(std::io::ErrorKind::NotFound, "no such folder to write into");
    }
    if path.exists() && !path.is_file() {
        // A pipe or a device is written to in place.
        return Ok(());
    }
    // What earlier commands left here when they were killed.
    files::sweep(folder);
    // Permissions say little to a superuser and on a read-only disk; a file that comes and goes says all.
    files::create_beside(path).and_then(|(_probe, name)| std::fs::remove_file(name)).map_err(Error::io(path))
}

/// Refuses an animation under the name of the pictures, which it would replace.
pub fn check_apart(option: &str, path: &Path, out: &Path) -> Result<(), Usage> {
    if path != out {
        return Ok(());
    }
    Err(Usage(format!("{option} {}: --out has the same name; give each its own", path.display())))
}

/// Refuses a name that has not this ending.
pub fn check_ending(option: &str, path: &Path, ending: &str) -> Result<(), Usage> {
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending)) {
        return Ok(());
    }
    Err(Usage(format!("{option} {}: it takes the name of a .{ending} file", path.display())))
}

/// Says on stderr that images have one colour all over, where some have.
pub fn warn_of_blank(blank: usize, of: usize) {
    if blank > 0 {
        print::word(format_args!(
            "warning: {blank} of {of} images: one colour all over; the sampler failed on them"
        ));
    }
}

/// How many have one colour all over.
pub fn blank(images: &Images) -> langevin::Result<usize> {
    Ok(images.bytes()?.blank().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_says_the_form() {
        assert!(form(Path::new("a.PNG")).is_ok_and(|f| f == Form::Grid));
        assert!(form(Path::new("folder")).is_ok_and(|f| f == Form::Folder));
        assert!(form(Path::new("run.1/")).is_ok_and(|f| f == Form::Folder));
        assert!(form(Path::new("-")).is_ok_and(|f| f == Form::Stdout));
        assert!(form(Path::new("a.jpg")).is_err());
        // Elsewhere a backslash is a letter of a name.
        assert_eq!(form(Path::new("run.1\\")).is_ok(), cfg!(windows));
    }
}
