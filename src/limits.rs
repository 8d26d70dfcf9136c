//! What the files of strangers may cost: every bound that a reader keeps, in one place. `docs/limits.md` is the table for users.
//!
//! A reader knows what something takes before it allocates, and compares that with a figure from here: bytes, counts, depth,
//! the ratio of unpacked to packed bytes, and the memory that all decoding threads hold together.
//!
//! ```
//! use langevin::limits::shown;
//!
//! // A name out of a file moves no cursor where it is printed.
//! assert!(!shown("a\u{1b}[2Jb").to_string().contains('\u{1b}'));
//! ```

use std::fmt::{self, Write};
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Bytes of a configuration or of another text that is read whole.
pub const TEXT_BYTES: u64 = 1 << 20;
/// Bytes of the log of a run, which is read whole where the run goes on.
pub const LOG_BYTES: u64 = 1 << 30;
/// Bytes of a `.npy` header; NumPy itself refuses longer ones.
pub const NPY_HEADER_BYTES: usize = 10_000;
/// Extents of an array; NumPy's own limit was 32 for most of its life.
pub const DIMENSIONS: usize = 32;
/// Bytes of an array that is read whole, as it stands in its file.
pub const ARRAY_BYTES: u64 = 4 << 30;
/// Bytes that decoding holds at one time over all threads, unless a caller says otherwise.
pub const DECODING_MEMORY: u64 = 480 << 20;
/// Bytes of the pixels of a data set that is kept in memory, for want of a folder to pack it in.
pub const PIXELS_IN_MEMORY: u64 = 4 << 30;
/// Times that an archive or compressed array may grow as it is unpacked. Pictures hardly shrink; deflate makes zeros 1,032
/// times smaller, xz 7,000 times.
pub const UNPACKED_RATIO: u64 = 100;
/// Bytes that any archive may unpack to, however small it is.
pub const UNPACKED_FREE: u64 = 16 << 20;
/// Names of a source that are kept, of pictures good and bad.
pub const PICTURES: u64 = u32::MAX as u64;
/// Pictures that cannot be read whose names and reasons are kept; more are counted.
pub const REPORTED: usize = 10_000;
/// Steps of a schedule, entries of a table of noise levels.
pub const SCHEDULE_STEPS: usize = 1 << 20;
/// Corrector steps behind each predictor step.
pub const CORRECTOR_STEPS: usize = 1 << 10;
/// Residual blocks of a network, on the way down and up: the time and memory of planning a step grow with them. The authors' largest
/// network has 68.
pub const BLOCKS: usize = 1 << 10;
/// Channels, sides and other extents of a layer.
pub const LAYER_EXTENT: usize = 1 << 20;

/// What is left of the bytes that an archive may unpack to: [`UNPACKED_RATIO`] times its size and [`UNPACKED_FREE`].
#[derive(Clone, Debug)]
pub struct Unpacking {
    packed: u64,
    left: u64,
}

impl Unpacking {
    /// For an archive of `packed` bytes.
    pub fn of(packed: u64) -> Self {
        Self { packed, left: packed.saturating_mul(UNPACKED_RATIO).saturating_add(UNPACKED_FREE) }
    }

    /// Takes `bytes`, or says why not.
    pub fn take(&mut self, bytes: u64) -> Result<(), String> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| {
            format!(
                "it unpacks to over {UNPACKED_RATIO} times its size of {} bytes, which honest data do not; if you trust it, \
                 unpack it yourself and name the folder",
                self.packed
            )
        })?;
        Ok(())
    }

    /// `inner`, ended by an error where it gives more than is left.
    pub fn bound<R: Read>(self, inner: R) -> impl Read {
        Bounded { inner, left: self }
    }
}

struct Bounded<R> {
    inner: R,
    left: Unpacking,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.left.take(n as u64).map_err(io::Error::other)?;
        Ok(n)
    }
}

/// Memory that several threads share: each reserves what it is about to allocate, and waits while the others hold too much.
#[derive(Clone, Debug)]
pub struct Memory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    total: u64,
    left: Mutex<u64>,
    freed: Condvar,
}

/// A part of a [`Memory`], given back when it is dropped.
#[derive(Debug)]
pub struct Reserved {
    of: Memory,
    bytes: u64,
}

impl Memory {
    /// `total` bytes for all threads together.
    pub fn new(total: u64) -> Self {
        Self(Arc::new(Shared { total, left: Mutex::new(total), freed: Condvar::new() }))
    }

    /// Bytes for all threads together.
    pub fn total(&self) -> u64 {
        self.0.total
    }

    /// Waits until `bytes` are free and takes them. A thread that waits must hold no part of the same memory.
    ///
    /// # Errors
    /// Says the figures where `bytes` are more than the whole.
    pub fn reserve(&self, bytes: u64) -> Result<Reserved, String> {
        if bytes > self.0.total {
            return Err(format!(
                "decoding it takes {} of memory, {} are allowed; give it more memory or make it smaller",
                mebibytes(bytes),
                mebibytes(self.0.total)
            ));
        }
        // A thread that panicked while it held the lock left a number that is right.
        let mut left = self.0.left.lock().unwrap_or_else(PoisonError::into_inner);
        while *left < bytes {
            left = self.0.freed.wait(left).unwrap_or_else(PoisonError::into_inner);
        }
        *left -= bytes;
        Ok(Reserved { of: self.clone(), bytes })
    }

    /// [`Memory::reserve`] without waiting; none where too little is free.
    pub fn try_reserve(&self, bytes: u64) -> Option<Reserved> {
        let mut left = self.0.left.lock().unwrap_or_else(PoisonError::into_inner);
        *left = left.checked_sub(bytes)?;
        Some(Reserved { of: self.clone(), bytes })
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(DECODING_MEMORY)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let shared = &self.of.0;
        *shared.left.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        shared.freed.notify_all();
    }
}

/// The memory of decoding in its two parts. A thread takes of the first before the second and never the other way round, so that
/// none waits for ever.
#[derive(Clone, Debug)]
pub struct Decoding {
    /// A fifth: files that were read and are not decoded yet.
    pub packed: Memory,
    /// The rest: pictures, and what decoders hold beside them.
    pub pixels: Memory,
}

impl Decoding {
    /// `total` bytes for both parts.
    pub fn new(total: u64) -> Self {
        Self { packed: Memory::new(total / 5), pixels: Memory::new(total - total / 5) }
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// Text from outside as messages show it: control characters, which move cursors and colour terminals, and characters that turn
/// the direction of writing are escaped, and a long one is cut in the middle.
pub fn shown(text: &str) -> Shown<'_> {
    Shown(text)
}

/// See [`shown`].
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(&'a str);

/// Characters of a name that messages show: more than any path that a system allows to be typed.
const SHOWN: usize = 4096;

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for c in self.0.chars().take(SHOWN) {
            match c {
                _ if is_harmless(c) => text.push(c),
                c => text.extend(c.escape_debug()),
            }
        }
        if self.0.chars().nth(SHOWN).is_some() {
            let _ = write!(text, "… ({} bytes)", self.0.len());
        }
        f.pad(&text)
    }
}

/// Whether a terminal shows `c` and does nothing else.
pub fn is_harmless(c: char) -> bool {
    // Bidirectional marks, embeddings and isolates; line and paragraph separators.
    let turns =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !turns
}

/// A shape as messages show it: the first extents, and how many there are.
pub fn shape(extents: &[usize]) -> String {
    match extents.split_at_checked(8) {
        Some((first, rest)) if !rest.is_empty() => {
            let first: Vec<String> = first.iter().map(usize::to_string).collect();
            format!("[{}, … {} extents]", first.join(", "), extents.len())
        }
        _ => format!("{extents:?}"),
    }
}

/// Names as a message lists them: the first few, and how many there are.
pub fn list<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const FIRST: usize = 8;
    let n = names.len();
    let first: Vec<String> = names.take(FIRST).map(|name| shown(name).to_string()).collect();
    let more = if n > FIRST { format!(" and {} more", n - FIRST) } else { String::new() };
    format!("{}{more}", first.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_may_grow_by_the_ratio_and_no_more() {
        let mut left = Unpacking::of(10);
        left.take(10 * UNPACKED_RATIO + UNPACKED_FREE).unwrap();
        assert!(left.take(1).unwrap_err().contains("size of 10 bytes"));
        assert!(Unpacking::of(u64::MAX).take(u64::MAX).is_ok());
        let mut out = Vec::new();
        let error = Unpacking::of(0).bound(io::repeat(0)).read_to_end(&mut out).unwrap_err();
        assert!(error.to_string().contains("times its size") && out.len() as u64 <= UNPACKED_FREE);
    }

    #[test]
    fn threads_share_memory() {
        let memory = Memory::new(100);
        assert!(memory.reserve(101).unwrap_err().contains("are allowed"));
        let first = memory.reserve(60).unwrap();
        assert!(memory.try_reserve(41).is_none());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| memory.reserve(80).unwrap().bytes);
            drop(first);
            assert_eq!(waiting.join().unwrap(), 80);
        });
        assert!(memory.try_reserve(100).is_some());
    }

    #[test]
    fn what_is_shown_does_nothing_to_a_terminal() {
        assert_eq!(shown("a\nb\u{1b}[31m\u{202e}é.png").to_string(), "a\\nb\\u{1b}[31m\\u{202e}é.png");
        assert_eq!(format!("{:<6}|", shown("abc")), "abc   |");
        assert!(shown(&"x".repeat(10_000)).to_string().ends_with("… (10000 bytes)"));
        assert_eq!(shape(&[1, 2]), "[1, 2]");
        assert_eq!(shape(&[1; 30]), "[1, 1, 1, 1, 1, 1, 1, 1, … 30 extents]");
        assert_eq!(list(["a", "\t"].into_iter()), "a, \\t");
        assert!(list(["x"; 9].into_iter()).ends_with(" and 1 more"));
    }
}
