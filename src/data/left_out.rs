//! What lies beside the pictures of a source and is left out: hidden and service folders, files of other kinds. It is counted and named,
//! so that nothing goes missing in silence.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::ingest::BadImage;
use crate::limits::{REPORTED, shown};

/// Folders and files that systems and programs put among pictures.
const SERVICE: &[&str] = &[
    "__MACOSX",
    "@eaDir",
    "@Recycle",
    "#recycle",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
    "__pycache__",
    "Thumbs.db",
    "desktop.ini",
];

/// Endings of pictures that are not read.
const PICTURES: &[&str] = &[
    "heic", "heif", "avif", "jxl", "jp2", "j2k", "svg", "psd", "ico", "tga", "ppm", "pgm", "pbm", "pnm",
    "exr", "hdr", "qoi", "dng", "cr2", "cr3", "nef", "arw", "raf", "orf", "rw2", "raw",
];

/// What was left out, the first of it by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeftOut {
    /// Files and folders in all.
    pub(crate) total: u64,
    /// The first of them, with reasons.
    pub(crate) first: Vec<BadImage>,
    /// Folders of an archive that are told already.
    #[serde(skip)]
    told: HashSet<String>,
}

impl LeftOut {
    pub(crate) fn add(&mut self, name: &str, why: &str) {
        self.total += 1;
        if self.first.len() < REPORTED {
            self.first.push(BadImage { name: name.into(), reason: why.into() });
        }
    }

    /// A sentence: how many, and the first names. None where nothing was left out.
    pub(crate) fn in_words(&self) -> Option<String> {
        let told: Vec<String> =
            self.first.iter().take(3).map(|b| format!("{} ({})", shown(&b.name), b.reason)).collect();
        let more = if self.total > told.len() as u64 { ", …" } else { "" };
        let what = if self.total == 1 { "file or folder is" } else { "files or folders are" };
        (self.total > 0).then(|| format!("{} {what} left out: {}{more}", self.total, told.join(", ")))
    }

    /// Whether a file of an archive is hidden or lies in a hidden or service folder, which is told once.
    pub(crate) fn is_outside(&mut self, name: &str) -> bool {
        let mut end = 0;
        for part in name.split('/') {
            end += part.len();
            if let Some(why) = reason(part) {
                let place = if end < name.len() { format!("{}/", &name[..end]) } else { name.to_owned() };
                if self.told.len() >= REPORTED || self.told.insert(place.clone()) {
                    self.add(&place, why);
                }
                return true;
            }
            end += 1;
        }
        false
    }
}

/// Why a folder or file of this name is none of the data set; none where it may be.
pub(crate) fn reason(name: &str) -> Option<&'static str> {
    if SERVICE.iter().any(|known| name.eq_ignore_ascii_case(known)) {
        Some("of the system or a program")
    } else if name.starts_with('.') && name != "." && name != ".." {
        Some("hidden")
    } else {
        None
    }
}

/// What a file is that is no picture by its name.
pub(crate) fn kind(name: &str) -> &'static str {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default();
    match PICTURES.contains(&ending.as_str()) {
        true => "a picture of a kind that is not read; save it as PNG or JPEG",
        false => "no picture by its name",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_folders_of_an_archive_are_told_once() {
        let mut left = LeftOut::default();
        for (name, outside) in [
            ("set/.ipynb_checkpoints/a.png", true),
            ("set/.ipynb_checkpoints/b.png", true),
            ("__MACOSX/set/._a.png", true),
            ("set/._a.png", true),
            ("set/cat/a.png", false),
            ("a.b/c.d.png", false),
        ] {
            assert_eq!(left.is_outside(name), outside, "{name}");
        }
        let names: Vec<&str> = left.first.iter().map(|b| b.name.as_str()).collect();
        assert_eq!(names, ["set/.ipynb_checkpoints/", "__MACOSX/", "set/._a.png"]);
        assert_eq!(left.total, 3);
        assert!(kind("a/IMG_1.HEIC").contains("PNG or JPEG") && kind("notes.txt").contains("no picture"));
    }
}
