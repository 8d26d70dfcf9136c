//! Embeds `shaders/**/*.wgsl`: one generated table of (path, text), so that a new kernel is a new file and nothing else;
//! and `assets/model.safetensors` where it is there.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = resources("shaders");
    println!("cargo:rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files.sort();
    let mut table = String::from("&[\n");
    for file in &files {
        let name = file.strip_prefix(&root).expect("found below root").to_string_lossy().replace('\\', "/");
        table += &format!("    ({name:?}, include_str!({:?})),\n", file.to_string_lossy());
    }
    table += "]\n";
    let out = env::var("OUT_DIR").expect("set by cargo");
    let out = Path::new(&out);
    fs::write(out.join("shaders.rs"), table)?;
    let model = resources("assets").join("model.safetensors");
    println!("cargo:rerun-if-changed={}", model.display());
    let embedded = match model.is_file() {
        true => format!("Some(include_bytes!({:?}))", model.to_string_lossy()),
        false => "None".to_owned(),
    };
    fs::write(out.join("embedded.rs"), embedded)
}

/// A folder beside `src/` in the repository. `src/` holds a link to it, in whose place a published package has the folder
/// itself; where links are not checked out as links, the folder is found one level up.
fn resources(name: &str) -> PathBuf {
    let package = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let above = package.join("..").join(name);
    let repository = package.join("../Cargo.toml").is_file() && above.is_dir();
    if repository { above } else { package.join(name) }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo:rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "wgsl") {
            files.push(path);
        }
    }
    Ok(())
}
