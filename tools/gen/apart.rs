//! Results that would replace what they are made from.

use std::path::{Path, PathBuf};

use langevin::files::is_same;

use crate::exit::Usage;

/// Something that a command reads, under the option that names it.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    /// A file or folder of weights.
    Model(&'a str, &'a Path),
    /// Pictures: a file, or a folder all of whose files are read.
    Images(&'a str, &'a Path),
}

/// Files of a folder of weights; pictures may lie beside them.
const OF_MODELS: [&str; 6] = ["safetensors", "bin", "json", "jsonl", "pth", "toml"];

/// Refuses an output that is one of the inputs, or lies in the place of one, whatever the names and links that lead there.
pub fn check_apart_from_inputs(option: &str, out: &Path, inputs: &[Input]) -> Result<(), Usage> {
    for input in inputs {
        let (Input::Model(name, path) | Input::Images(name, path)) = *input;
        let clash = match input {
            _ if !out.exists() => false,
            _ if out.is_file() && path.is_file() => is_same(out, path),
            Input::Images(..) if out.is_file() => lies_in(out, path),
            Input::Model(..) if out.is_file() => {
                let ending = out.extension().map(|e| e.to_string_lossy().to_lowercase());
                let of_models = ending.is_some_and(|e| OF_MODELS.contains(&e.as_str()));
                (of_models || out.file_name().is_some_and(|n| n == "lock")) && lies_in(out, path)
            }
            // Pictures in a folder get the names of those that they come from.
            Input::Images(..) if path.is_file() => {
                path.extension().is_some_and(|e| e.eq_ignore_ascii_case("png"))
                    && path.canonicalize().is_ok_and(|real| real.parent().is_some_and(|p| is_same(p, out)))
            }
            Input::Images(..) => is_same(out, path),
            Input::Model(..) => false,
        };
        if clash {
            let out = langevin::limits::shown(&out.to_string_lossy()).to_string();
            return Err(Usage(format!(
                "{option} {out}: {name} is read from there, and would be replaced; give another name"
            )));
        }
    }
    Ok(())
}

/// Whether a file lies in a folder or below it, links resolved.
fn lies_in(file: &Path, folder: &Path) -> bool {
    let real: fn(&Path) -> Option<PathBuf> = |path| path.canonicalize().ok();
    folder.is_dir() && real(file).zip(real(folder)).is_some_and(|(file, folder)| file.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("run/sub")).unwrap();
        std::fs::create_dir(at("empty")).unwrap();
        for name in ["run/checkpoint.safetensors", "run/grid.png", "run/sub/a.png", "m.safetensors"] {
            std::fs::write(at(name), "x").unwrap();
        }
        let refused = |out: &str, input: Input| check_apart_from_inputs("--out", &at(out), &[input]).is_err();
        let (run, file, picture) = (at("run"), at("m.safetensors"), at("run/sub/a.png"));
        assert!(refused("m.safetensors", Input::Model("--model", &file)));
        assert!(refused("run/../m.safetensors", Input::Model("--model", &file)));
        assert!(refused("run/checkpoint.safetensors", Input::Model("--model", &run)));
        assert!(!refused("run/grid.png", Input::Model("--model", &run)));
        assert!(!refused("run", Input::Model("--model", &run)));
        assert!(refused("run/sub/a.png", Input::Images("--images", &run)));
        assert!(refused("run", Input::Images("--images", &run)));
        assert!(refused("run/sub", Input::Images("--images", &picture)));
        assert!(!refused("empty", Input::Images("--images", &run)));
        assert!(!refused("new.png", Input::Images("--images", &run)));
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(at("m.safetensors"), at("link.safetensors")).unwrap();
            assert!(refused("link.safetensors", Input::Model("--model", &file)));
        }
    }
}
