//! Where a picture comes from: text chunks of a PNG, written with it and read back by `gen inspect`.

use std::io::Write;
#[cfg(feature = "files")]
use std::{
    io::{BufRead, Seek},
    path::Path,
};

use png::text_metadata::{ITXtChunk, TEXtChunk};

#[cfg(feature = "files")]
use crate::{Error, Result};

/// Keys and values, in order. The usual keys are `command`, `config` (TOML), `seeds`, `weights` (hash of the file),
/// `sampler`, `nfe`, `adapter`; `Software` is always there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    entries: Vec<(String, String)>,
}

/// PNG allows 79 bytes; the prefix keeps our keys apart from those of other programs.
const PREFIX: &str = "langevin:";
const SOFTWARE: &str = "Software";
/// Text unpacked from one file, at most.
#[cfg(feature = "files")]
const MAX_TEXT: usize = 4 << 20;
/// Longer values, and those that are not ASCII, go into compressed UTF-8 chunks.
const PLAIN: usize = 200;

impl Default for Provenance {
    fn default() -> Self {
        Self::new()
    }
}

impl Provenance {
    /// This library and its version.
    pub fn new() -> Self {
        let software = concat!("langevin ", env!("CARGO_PKG_VERSION"));
        Self { entries: vec![(SOFTWARE.into(), software.into())] }
    }

    /// Adds or replaces an entry. Keys are ASCII letters, digits, `_`, `-`, `.`; what else they hold is left out.
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        let allowed = |c: &char| c.is_ascii_alphanumeric() || "_-.".contains(*c);
        let key: String = key.chars().filter(allowed).take(60).collect();
        // PNG text holds no NUL.
        let value = value.into().replace('\0', "");
        match self.entries.iter_mut().find(|(k, _)| *k == key) {
            Some(entry) => entry.1 = value,
            None if key.is_empty() => {}
            None => self.entries.push((key, value)),
        }
        self
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// All entries in order.
    pub fn entries(&self) -> &[(String, String)] {
        &self.entries
    }

    /// Writes the text chunks; has to come before the pixels.
    pub(crate) fn write_to<W: Write>(&self, png: &mut png::Writer<W>) -> Result<(), png::EncodingError> {
        for (key, value) in &self.entries {
            let keyword = if key == SOFTWARE { key.clone() } else { format!("{PREFIX}{key}") };
            let printable = value.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b));
            if printable && value.len() <= PLAIN {
                png.write_text_chunk(&TEXtChunk::new(keyword, value))?;
            } else {
                let mut chunk = ITXtChunk::new(keyword, value);
                chunk.compressed = true;
                png.write_text_chunk(&chunk)?;
            }
        }
        Ok(())
    }

    /// Reads the entries of a PNG, those of other programs under their own keys; none where the PNG has no text.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Format`] where the file is no PNG or is damaged.
    #[cfg(feature = "files")]
    pub fn read(path: &Path) -> Result<Option<Self>> {
        Self::read_from(std::io::BufReader::new(crate::files::open(path)?.0), path)
    }

    /// [`Provenance::read`] from bytes; `name` stands for the path in errors.
    ///
    /// # Errors
    /// As [`Provenance::read`].
    #[cfg(feature = "files")]
    pub fn parse(bytes: &[u8], name: &Path) -> Result<Option<Self>> {
        Self::read_from(std::io::Cursor::new(bytes), name)
    }

    #[cfg(feature = "files")]
    fn read_from(file: impl BufRead + Seek, path: &Path) -> Result<Option<Self>> {
        let bad = |e: png::DecodingError| Error::format(path, format!("no readable PNG: {e}"));
        let mut decoder = png::Decoder::new_with_limits(file, png::Limits { bytes: 1 << 29 });
        decoder.set_ignore_iccp_chunk(true);
        let mut reader = decoder.read_info().map_err(bad)?;
        // Other programs put text behind the pixels.
        reader.finish().map_err(bad)?;
        let info = reader.info();
        let mut left = MAX_TEXT;
        let mut entries: Vec<(String, String)> = Vec::new();
        let mut add = |keyword: &str, text: String| {
            entries.push((keyword.strip_prefix(PREFIX).unwrap_or(keyword).to_string(), text));
        };
        for chunk in &info.uncompressed_latin1_text {
            add(&chunk.keyword, chunk.text.clone());
        }
        for chunk in &info.compressed_latin1_text {
            let mut chunk = chunk.clone();
            chunk.decompress_text_with_limit(left).map_err(bad)?;
            let text = chunk.get_text().map_err(bad)?;
            left = left.saturating_sub(text.len());
            add(&chunk.keyword, text);
        }
        for chunk in &info.utf8_text {
            let mut chunk = chunk.clone();
            chunk.decompress_text_with_limit(left).map_err(bad)?;
            let text = chunk.get_text().map_err(bad)?;
            left = left.saturating_sub(text.len());
            add(&chunk.keyword, text);
        }
        Ok((!entries.is_empty()).then_some(Self { entries }))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{ImageBytes, write_png};
    use super::*;

    fn image() -> ImageBytes {
        ImageBytes::new([1, 2, 2, 3], (0..12).collect()).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.png");
        let config = "[model]\nname = \"ncsnpp\"\n".repeat(50);
        let provenance = Provenance::new()
            .with("seeds", "0-15")
            .with("config", config.clone())
            .with("author", "\u{395}\u{3c5}\u{3ba}")
            .with("seeds", "0-7")
            .with("we ird\u{e4}:key", "a\0b");
        write_png(&path, &image(), &provenance).unwrap();
        let got = Provenance::read(&path).unwrap().unwrap();
        assert_eq!(got.get("Software"), Some(concat!("langevin ", env!("CARGO_PKG_VERSION"))));
        assert_eq!(got.get("seeds"), Some("0-7"));
        assert_eq!(got.get("config"), Some(config.as_str()));
        assert_eq!(got.get("author"), Some("\u{395}\u{3c5}\u{3ba}"));
        assert_eq!(got.get("weirdkey"), Some("ab"));
        assert_eq!(got.entries().len(), provenance.entries().len());
        // The long one is compressed.
        assert!(fs::metadata(&path).unwrap().len() < 1000);
    }

    #[test]
    fn damaged_files_are_errors_and_never_panic() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.png");
        write_png(&path, &image(), &Provenance::new().with("config", "x".repeat(500))).unwrap();
        let good = fs::read(&path).unwrap();
        let read = |bytes: &[u8]| Provenance::read_from(std::io::Cursor::new(bytes), &path);
        for cut in 0..good.len() - 12 {
            assert!(read(&good[..cut]).is_err(), "cut at {cut}");
        }
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let _ = read(&bytes);
        }
    }

    #[test]
    fn a_text_bomb_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.png");
        write_png(&path, &image(), &Provenance::new().with("config", " ".repeat(MAX_TEXT + 1))).unwrap();
        assert!(fs::metadata(&path).unwrap().len() < 20_000);
        assert!(Provenance::read(&path).is_err());
    }
}
