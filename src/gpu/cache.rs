//! The tuning cache: one small text file per adapter, driver and set of kernels.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::path::PathBuf;

use super::device::Gpu;
use super::shader;

/// The first line of a file; another format has another.
const FORMAT: &str = "langevin kernels 1";

/// Choices that a device made earlier: what was asked, and the name of what was fastest.
pub(crate) type Known = BTreeMap<String, String>;

/// FNV-1a: the same on every machine and in every version of Rust, unlike the standard library's own.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// Changes with every change of a kernel.
fn version() -> String {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    for (path, text) in shader::FILES {
        hash.write(path.as_bytes());
        hash.write(text.as_bytes());
    }
    format!("{} {:016x}", env!("CARGO_PKG_VERSION"), hash.finish())
}

/// The lines of a file, where every one of them is what it should be: a damaged or foreign file counts as none.
fn parse(text: &str, header: &str) -> Option<Known> {
    let mut lines = text.lines();
    if lines.next()? != FORMAT || lines.next()? != header {
        return None;
    }
    let mut known = Known::new();
    let mut end = false;
    for line in lines {
        if end {
            return None;
        }
        match line.split_once('\t') {
            Some((key, name)) if !key.is_empty() && !name.is_empty() => {
                known.insert(key.to_owned(), name.to_owned());
            }
            None if line == "end" => end = true,
            _ => return None,
        }
    }
    end.then_some(known)
}

fn print(known: &Known, header: &str) -> String {
    let lines: String = known.iter().map(|(key, name)| format!("{key}\t{name}\n")).collect();
    format!("{FORMAT}\n{header}\n{lines}end\n")
}

/// Where the choices of a device are kept: a file in the folder of [`super::Options::cache_folder`], or nowhere.
#[derive(Clone, Debug)]
pub(crate) struct TuningCache {
    path: Option<PathBuf>,
    header: String,
}

impl TuningCache {
    /// The cache of a device.
    pub(crate) fn of(gpu: &Gpu) -> Self {
        let adapter = gpu.adapter();
        let header =
            format!("{} | {} | {}", adapter.name, adapter.driver, version()).replace(['\n', '\t'], " ");
        let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
        hash.write(header.as_bytes());
        // A library without the feature `files` touches none.
        let folder = gpu.cache_folder().filter(|_| cfg!(feature = "files"));
        let path = folder.map(|f| f.join(format!("kernels-{:016x}.txt", hash.finish())));
        Self { path, header }
    }

    /// A cache that keeps nothing.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self { path: None, header: String::new() }
    }

    /// What was found earlier; nothing where there is no file, or one that does not read.
    pub(crate) fn load(&self) -> Known {
        let text = self.path.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
        text.and_then(|text| parse(&text, &self.header)).unwrap_or_default()
    }

    /// Writes all choices. A cache that cannot be written costs time at the next start and nothing else, so that is no error.
    pub(crate) fn save(&self, known: &Known) {
        let Some(path) = &self.path else { return };
        let Some(folder) = path.parent() else { return };
        // A name of its own, so that two processes do not write into one file.
        let fresh = path.with_extension(format!("{}.tmp", std::process::id()));
        let written = std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&fresh, print(known, &self.header)))
            .and_then(|()| std::fs::rename(&fresh, path));
        if let Err(cause) = written {
            tracing::debug!("the tuning cache {} was not written: {cause}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_printed_reads_and_nothing_else_does() {
        let known = Known::from([("conv2d: a".into(), "direct 8x8".into()), ("b".into(), "plain".into())]);
        let text = print(&known, "gpu");
        assert_eq!(parse(&text, "gpu"), Some(known));
        assert_eq!(parse(&text, "another gpu"), None);
        for cut in 0..text.len() - 1 {
            assert_eq!(parse(&text[..cut], "gpu"), None, "{:?}", &text[..cut]);
        }
        assert_eq!(parse(&text.replace("direct", "\ndirect"), "gpu"), None);
        assert_eq!(parse("PNG", "gpu"), None);
    }

    #[test]
    fn a_file_comes_back_and_a_damaged_one_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/kernels.txt");
        let cache = TuningCache { path: Some(path.clone()), header: "gpu".into() };
        let known = Known::from([("key".into(), "winograd4 lanes".into())]);
        assert_eq!(cache.load(), Known::new());
        cache.save(&known);
        assert_eq!(cache.load(), known);
        std::fs::write(&path, [0xff, 0, 3]).unwrap();
        assert_eq!(cache.load(), Known::new());
        cache.save(&known);
        assert_eq!(cache.load(), known);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
