//! Metrics as lines of JSON, one object a step.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::file::write_whole;
use crate::limits::LOG_BYTES;
use crate::{Error, Result, files};

/// Appends to a `.jsonl` file.
#[derive(Debug)]
pub struct MetricsWriter {
    path: PathBuf,
    file: File,
}

impl MetricsWriter {
    /// Opens or creates the file. A run that resumes after `step` first drops the lines of later steps, which are about
    /// to be made again, and a line that was cut off; `None` keeps all whole lines.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] where a link or something else than a file has its name.
    pub fn open(path: &Path, resume_after: Option<u64>) -> Result<Self> {
        files::refuse_link(path)?;
        let old = match files::read(path, LOG_BYTES) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let keeps = |line: &&[u8]| match serde_json::from_slice::<Value>(line) {
            Ok(value) => {
                let step = value.get("step").and_then(Value::as_u64);
                resume_after.zip(step).is_none_or(|(after, step)| step <= after)
            }
            Err(_) => false,
        };
        let kept: Vec<u8> = old
            .split_inclusive(|&b| b == b'\n')
            .filter(|l| l.ends_with(b"\n"))
            .filter(keeps)
            .flatten()
            .copied()
            .collect();
        if kept != old {
            write_whole(path, |out| out.write_all(&kept))?;
        }
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        Ok(Self { path: path.to_path_buf(), file: files::append(path)? })
    }

    /// Appends `{"step": …, name: value, …}` as one write, so that a reader sees whole lines. JSON has no NaN and no
    /// infinity: they are the strings `"NaN"`, `"inf"`, `"-inf"`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        let mut line = Map::new();
        line.insert("step".into(), json!(step));
        for (name, value) in values {
            let value = if value.is_finite() { json!(value) } else { json!(value.to_string()) };
            line.insert(name.to_string(), value);
        }
        let text = format!("{}\n", Value::Object(line));
        self.file.write_all(text.as_bytes()).map_err(Error::io(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/metrics.jsonl");
        let mut out = MetricsWriter::open(&path, None).unwrap();
        out.write(1, &[("loss", 0.25), ("grad_norm", f64::NAN)]).unwrap();
        out.write(2, &[("loss", f64::NEG_INFINITY)]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "{\"step\":1,\"loss\":0.25,\"grad_norm\":\"NaN\"}\n{\"step\":2,\"loss\":\"-inf\"}\n"
        );
    }

    #[test]
    fn resuming_drops_what_will_be_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        let mut out = MetricsWriter::open(&path, None).unwrap();
        for step in 1..=5 {
            out.write(step, &[("loss", step as f64)]).unwrap();
        }
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"step\":6,\"lo").unwrap();
        let mut out = MetricsWriter::open(&path, Some(3)).unwrap();
        out.write(4, &[("loss", 40.0)]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 4);
        assert!(text.ends_with("{\"step\":3,\"loss\":3.0}\n{\"step\":4,\"loss\":40.0}\n"), "{text}");
        MetricsWriter::open(&path, None).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}
