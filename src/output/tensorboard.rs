//! TensorBoard event files: records of `Event` messages (`tensorflow/core/util/event.proto`,
//! `tensorflow/core/framework/summary.proto`).

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::picture::encode_png;
use super::pixels::ImageBytes;
use super::provenance::Provenance;
use crate::formats::protobuf::Message;
use crate::formats::record::write_record;
use crate::{Error, Result};

/// Writes one event file; TensorBoard reads all of a folder together.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    out: BufWriter<File>,
}

impl EventWriter {
    /// Creates a new file in `folder`, named as TensorBoard looks for it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let (now, pid) = (wall_time(), std::process::id());
        // Files of one second and process are told apart by the last number.
        let (path, file) = (0..)
            .map(|n| folder.join(format!("events.out.tfevents.{:010}.langevin.{pid}.{n}", now as u64)))
            .find_map(|path| match File::create_new(&path) {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => None,
                file => Some((path, file)),
            })
            .ok_or_else(|| Error::invalid("folder", folder.display(), "holds too many event files"))?;
        let out = BufWriter::new(file.map_err(Error::io(&path))?);
        let mut writer = Self { path, out };
        writer.put(&event(now, 0).bytes(3, b"brain.Event:2"))?;
        writer.flush()?;
        Ok(writer)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes numbers, one series per name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        let summary = values.iter().fold(Message::new(), |s, (tag, v)| s.message(1, scalar(tag, *v as f32)));
        self.put(&event(wall_time(), step).message(5, summary))
    }

    /// Writes one image, or a grid.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Shape`] where there is not exactly one image.
    pub fn image(&mut self, step: u64, tag: &str, image: &ImageBytes) -> Result<()> {
        let summary = Message::new().message(1, picture(tag, image)?);
        self.put(&event(wall_time(), step).message(5, summary))
    }

    /// Hands everything to the system, so that TensorBoard sees it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn flush(&mut self) -> Result<()> {
        self.out.flush().map_err(Error::io(&self.path))
    }

    fn put(&mut self, event: &Message) -> Result<()> {
        write_record(&mut self.out, event.as_bytes()).map_err(Error::io(&self.path))
    }
}

fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// `Event { wall_time: 1, step: 2 }`; the file's version (3) or a summary (5) follows.
fn event(wall_time: f64, step: u64) -> Message {
    let event = Message::new().double(1, wall_time);
    // Zero is what a reader assumes.
    if step == 0 { event } else { event.int(2, step as i64) }
}

/// `Summary.Value { tag: 1, simple_value: 2 }`.
fn scalar(tag: &str, value: f32) -> Message {
    Message::new().bytes(1, tag.as_bytes()).float(2, value)
}

/// `Summary.Value { tag: 1, image: 4 }`, `Image { height: 1, width: 2, colorspace: 3, encoded_image_string: 4 }`.
fn picture(tag: &str, image: &ImageBytes) -> Result<Message> {
    let [_, h, w, c] = image.shape;
    let png = encode_png(image, &Provenance::new())?;
    let image = Message::new().int(1, h as i64).int(2, w as i64).int(3, c as i64).bytes(4, &png);
    Ok(Message::new().bytes(1, tag.as_bytes()).message(4, image))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::record::RecordReader;

    #[test]
    fn known_bytes() {
        // tensorboard.compat.proto: Event(wall_time=1.5, step=7, summary=Summary(value=[Summary.Value(tag="loss",
        // simple_value=0.25)])).SerializeToString(), and Event(wall_time=1.5, file_version="brain.Event:2").
        let summary = Message::new().message(1, scalar("loss", 0.25));
        let got = event(1.5, 7).message(5, summary);
        let known = b"\x09\0\0\0\0\0\0\xf8\x3f\x10\x07\x2a\x0d\x0a\x0b\x0a\x04loss\x15\0\0\x80\x3e";
        assert_eq!(got.as_bytes(), known);
        let known = b"\x09\0\0\0\0\0\0\xf8\x3f\x1a\x0dbrain.Event:2";
        assert_eq!(event(1.5, 0).bytes(3, b"brain.Event:2").as_bytes(), known);
    }

    #[test]
    fn files_hold_whole_records() {
        let dir = tempfile::tempdir().unwrap();
        let mut out = EventWriter::create(dir.path()).unwrap();
        let image = ImageBytes::new([1, 2, 2, 1], vec![1, 2, 3, 4]).unwrap();
        out.scalars(1, &[("train/loss", 2.0), ("train/grad_norm", f64::NAN)]).unwrap();
        out.image(1, "samples", &image).unwrap();
        out.flush().unwrap();
        let other = EventWriter::create(dir.path()).unwrap();
        assert_ne!(out.path(), other.path());
        let mut reader = RecordReader::new(File::open(out.path()).unwrap(), out.path(), 1 << 20);
        let mut records = Vec::new();
        while let Some(record) = reader.next_record().unwrap() {
            records.push(record);
        }
        assert_eq!(records.len(), 3);
        assert!(records[0].ends_with(b"brain.Event:2"));
        assert!(records[2].windows(8).any(|w| w == b"\x89PNG\r\n\x1a\n"));
    }
}
