//! Bytes to read from: a file, or bytes that are in the program. Every read is checked against the length.

#[cfg(feature = "files")]
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::checkpoint::xxh64::Xxh64;
use crate::{Error, Result};

/// How much is read at a time where a whole tensor or entry is passed through.
pub(super) const CHUNK: usize = 64 << 10;

/// What a parser may hold for a small file, so that a tiny but honest file is not refused.
const BUDGET_FLOOR: u64 = 16 << 20;

trait ReadSeek: Read + Seek + Send {}
impl<T: Read + Seek + Send> ReadSeek for T {}

/// A file that is read in pieces, or bytes in memory with a name for messages.
pub struct Source {
    path: PathBuf,
    len: u64,
    inner: Mutex<Box<dyn ReadSeek>>,
}

/// Reads a [`Source`] from its beginning.
pub(super) struct Reader {
    source: Arc<Source>,
    at: u64,
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.source.len.saturating_sub(self.at).min(into.len() as u64) as usize;
        self.source.read_at(self.at, &mut into[..n]).map_err(io::Error::other)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.source.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("path", &self.path).field("len", &self.len).finish_non_exhaustive()
    }
}

impl Source {
    /// Opens a file. Errors: [`Error::Io`], also for a folder.
    #[cfg(feature = "files")]
    pub fn open(path: impl AsRef<Path>) -> Result<Arc<Self>> {
        let path = path.as_ref();
        // Asked before opening: opening a pipe would wait for its other end.
        if !std::fs::metadata(path).map_err(Error::io(path))?.is_file() {
            return Err(Error::format(path, "not a regular file"));
        }
        let file = File::open(path).map_err(Error::io(path))?;
        let metadata = file.metadata().map_err(Error::io(path))?;
        Ok(Arc::new(Self { path: path.into(), len: metadata.len(), inner: Mutex::new(Box::new(file)) }))
    }

    /// Bytes in memory; `name` stands for the path in messages.
    pub fn memory(name: impl Into<PathBuf>, bytes: impl AsRef<[u8]> + Send + 'static) -> Arc<Self> {
        let len = bytes.as_ref().len() as u64;
        Arc::new(Self { path: name.into(), len, inner: Mutex::new(Box::new(Cursor::new(bytes))) })
    }

    /// The path, or the name of the bytes.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is not one byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A reader of all of it, for parsers that take one.
    pub(super) fn reader(self: &Arc<Self>) -> Reader {
        Reader { source: Arc::clone(self), at: 0 }
    }

    /// An [`Error::Format`] that names this file.
    pub(super) fn bad(&self, problem: impl Into<String>) -> Error {
        Error::format(&self.path, problem)
    }

    /// Fills `into` from byte `offset` on.
    pub(super) fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        self.within(offset, into.len() as u64)?;
        // A reader that panicked left no state that a seek does not set again.
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner
            .seek(SeekFrom::Start(offset))
            .and_then(|_| inner.read_exact(into))
            .map_err(Error::io(&self.path))
    }

    /// Refuses a range that does not lie within the file.
    pub(super) fn within(&self, offset: u64, len: u64) -> Result<()> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(self.bad(format!(
                "{len} bytes are wanted at byte {offset}, but the file ends at byte {}; it is truncated or damaged",
                self.len
            ))),
        }
    }

    /// Passes a range on in pieces of at most [`CHUNK`] bytes.
    pub(super) fn chunks(
        &self,
        offset: u64,
        len: u64,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        self.within(offset, len)?;
        let mut buffer = vec![0; CHUNK.min(len as usize)];
        let mut at = 0;
        while at < len {
            let n = (len - at).min(CHUNK as u64) as usize;
            self.read_at(offset + at, &mut buffer[..n])?;
            each(&buffer[..n])?;
            at += n as u64;
        }
        Ok(())
    }
}

/// A checksum over a range, computed once, before the first use of anything within the range.
#[derive(Debug)]
pub(super) struct Check {
    /// The entry's or tensor's name, for the message.
    pub(super) what: Arc<str>,
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) expected: Sum,
    pub(super) passed: OnceLock<()>,
}

/// A checksum and its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sum {
    Crc32(u32),
    Xxh64(u64),
}

impl Check {
    pub(super) fn new(what: impl Into<Arc<str>>, offset: u64, len: u64, expected: Sum) -> Arc<Self> {
        Arc::new(Self { what: what.into(), offset, len, expected, passed: OnceLock::new() })
    }

    /// Reads the range if nobody did yet. Errors: [`Error::Format`] where the sum differs.
    pub(super) fn verify(&self, source: &Source) -> Result<()> {
        if self.passed.get().is_some() {
            return Ok(());
        }
        let (right, wrong) = match self.expected {
            Sum::Crc32(expected) => {
                let mut crc = flate2::Crc::new();
                source.chunks(self.offset, self.len, |part| {
                    crc.update(part);
                    Ok(())
                })?;
                (crc.sum() == expected, format!("CRC-32 {:08x}, recorded {expected:08x}", crc.sum()))
            }
            Sum::Xxh64(expected) => {
                let mut hash = Xxh64::new(0);
                source.chunks(self.offset, self.len, |part| {
                    hash.update(part);
                    Ok(())
                })?;
                let sum = hash.digest();
                (sum == expected, format!("checksum {sum:016x}, recorded {expected:016x}"))
            }
        };
        if !right {
            return Err(source.bad(format!("{:?} is damaged: {wrong}", self.what)));
        }
        // Two threads may both have computed it; either one's mark will do.
        let _ = self.passed.set(());
        Ok(())
    }
}

/// What a parser may still hold in memory: as much as the file is long, so that with the tensors themselves no file
/// costs more than twice its size.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    left: u64,
}

impl Budget {
    pub(super) fn for_file(len: u64) -> Self {
        let limit = len.max(BUDGET_FLOOR);
        Self { limit, left: limit }
    }

    /// What is left.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Takes `bytes`, or says why not.
    pub(super) fn charge(&mut self, bytes: u64) -> Result<(), String> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(format!(
                "reading its structure would take more than {} bytes of memory, which its size does not justify",
                self.limit
            )),
        }
    }
}

/// Reads forward through a range of a source, with a buffer and the position.
pub(super) struct Stream<'a> {
    source: &'a Source,
    buffer: Vec<u8>,
    /// Next byte within `buffer`.
    next: usize,
    /// Where the end of `buffer` lies in the source.
    position: u64,
    end: u64,
}

impl<'a> Stream<'a> {
    /// A stream over `offset..offset + len`; that range must lie within the source.
    pub(super) fn new(source: &'a Source, offset: u64, len: u64) -> Result<Self> {
        source.within(offset, len)?;
        Ok(Self { source, buffer: Vec::new(), next: 0, position: offset, end: offset + len })
    }

    /// The position in the source of the next byte.
    pub(super) fn position(&self) -> u64 {
        self.position - (self.buffer.len() - self.next) as u64
    }

    /// How many bytes follow.
    pub(super) fn remaining(&self) -> u64 {
        self.end - self.position()
    }

    /// Fills `into`. Errors: [`Error::Format`] where the range ends before.
    pub(super) fn fill(&mut self, into: &mut [u8]) -> Result<()> {
        if into.len() as u64 > self.remaining() {
            return Err(self.source.bad(format!(
                "{} bytes are wanted at byte {}, but only {} follow; the file is truncated or damaged",
                into.len(),
                self.position(),
                self.remaining()
            )));
        }
        let mut done = 0;
        while done < into.len() {
            if self.next == self.buffer.len() {
                let n = (self.end - self.position).min(CHUNK as u64) as usize;
                self.buffer.resize(n, 0);
                self.source.read_at(self.position, &mut self.buffer)?;
                self.position += n as u64;
                self.next = 0;
            }
            let n = (self.buffer.len() - self.next).min(into.len() - done);
            into[done..done + n].copy_from_slice(&self.buffer[self.next..self.next + n]);
            self.next += n;
            done += n;
        }
        Ok(())
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// The next byte.
    pub(super) fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// The next `len` bytes, allocated only after it is known that they exist.
    pub(super) fn bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        if len > self.remaining() {
            return Err(self.source.bad(format!(
                "{len} bytes are wanted at byte {}, but only {} follow; the file is truncated or damaged",
                self.position(),
                self.remaining()
            )));
        }
        let mut bytes = vec![0; len as usize];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }
}

/// A place in a source that moves: what readers of archives want.
#[derive(Debug)]
pub(super) struct SourceReader<'a> {
    source: &'a Source,
    at: u64,
}

impl<'a> SourceReader<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        Self { source, at: 0 }
    }
}

impl Read for SourceReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let n = (into.len() as u64).min(self.source.len().saturating_sub(self.at)) as usize;
        self.source.read_at(self.at, &mut into[..n]).map_err(std::io::Error::other)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for SourceReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let (base, step) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::Current(step) => (self.at, step),
            SeekFrom::End(step) => (self.source.len(), step),
        };
        self.at = base.checked_add_signed(step).ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let n = (into.len() as u64).min(self.remaining()) as usize;
        self.fill(&mut into[..n]).map_err(std::io::Error::other)?;
        Ok(n)
    }
}
