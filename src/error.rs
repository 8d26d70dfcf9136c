//! The one error type of the library. A message names the op or file, the figures and the remedy.
//!
//! ```
//! use langevin::Error;
//! use langevin::models::presets;
//!
//! match presets::get("ve/cifar10_ncsnp_continuous") {
//!     Err(Error::UnknownName { nearest, .. }) => assert_eq!(nearest.as_deref(), Some("ve/cifar10_ncsnpp_continuous")),
//!     other => panic!("{other:?}"),
//! }
//! ```

use std::path::{Path, PathBuf};

use crate::limits::{is_harmless, shown};

/// What a library function returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong without a bug here. A panic means a bug in this library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Operands of an op do not fit each other.
    #[error("{op}: {problem}; {remedy}")]
    Shape {
        /// The name of the op.
        op: &'static str,
        /// What does not fit, with both shapes.
        problem: String,
        /// What to change.
        remedy: String,
    },
    /// One buffer, binding or grid exceeds what the device allows.
    #[error("{what} needs {needed} {unit}, the device allows {limit}; {remedy}")]
    Limit {
        /// The tensor, op or pipeline.
        what: String,
        /// What it needs.
        needed: u64,
        /// What the device allows.
        limit: u64,
        /// The unit of both figures.
        unit: &'static str,
        /// What to change.
        remedy: &'static str,
    },
    /// No adapter answered.
    #[error("no GPU adapter answered (backends tried: {tried}); {remedy}")]
    NoAdapter {
        /// The backends that were asked.
        tried: String,
        /// What to install or to ask for.
        remedy: String,
    },
    /// A device was asked for by what fits none.
    #[error("no device matches {asked}; there are: {known}")]
    UnknownDevice {
        /// What was asked for.
        asked: String,
        /// The adapters that exist.
        known: String,
    },
    /// The adapter refused to open.
    #[error("the adapter {adapter} did not open: {cause}")]
    DeviceRefused {
        /// The adapter's name.
        adapter: String,
        /// What the driver said.
        cause: String,
    },
    /// The device went away during work: watchdog, driver reset, unplugged.
    #[error("the device was lost: {cause}; work since the last checkpoint is gone, the files are intact")]
    DeviceLost {
        /// The first cause reported.
        cause: String,
    },
    /// A function that blocks was called in a browser, whose thread must return to its event loop before anything goes on.
    #[error(
        "in a browser nothing can wait on this thread; call the function of the same name that ends in _async, and await it"
    )]
    CannotBlock,
    /// Device memory ran out.
    #[error("out of device memory while allocating {bytes} bytes for {what}; use a smaller batch")]
    OutOfMemory {
        /// What was to be allocated.
        what: String,
        /// Its size.
        bytes: u64,
    },
    /// The driver refused a shader or a pipeline.
    #[error("the driver refused the pipeline {label}: {cause}")]
    Pipeline {
        /// The pipeline's label.
        label: String,
        /// What was said.
        cause: String,
    },
    /// A validation error of the GPU interface outside any scope: a bug here, reported rather than aborted.
    #[error("GPU validation error: {cause}")]
    Validation {
        /// The first message.
        cause: String,
    },
    /// A kernel that is to be timed does not give what the plainest one gives.
    #[error(
        "{what} by {kernels} is off by {error:.1e} of the largest output, {tolerance:.0e} is allowed; its time would mean nothing, report the adapter and driver"
    )]
    Disagreement {
        /// What was to be timed.
        what: String,
        /// Classes and variants of the kernels.
        kernels: String,
        /// Largest difference as a share of the largest output.
        error: f64,
        /// What is allowed.
        tolerance: f64,
    },
    /// A tensor holds NaN or infinity.
    #[error("{tensor} became non-finite at step {step}")]
    NonFinite {
        /// The tensor.
        tensor: String,
        /// The step.
        step: u64,
    },
    /// An image to be written holds NaN or infinity; it would have been painted black.
    #[error(
        "image {image} holds {count} non-finite values of {of}; it is not written. Sampling diverged: check the weights and try more steps or a smaller snr"
    )]
    NonFiniteImage {
        /// Its number in the batch.
        image: usize,
        /// How many values are NaN or infinite.
        count: usize,
        /// How many values there are.
        of: usize,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}", path = name(path))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The disk is full. Files are written under a temporary name, so the one that was there is intact.
    #[error("the disk is full: {path} needs {needed} bytes; what was saved before is intact. Free some space and try again", path = name(path))]
    StorageFull {
        /// The file.
        path: PathBuf,
        /// What it needs.
        needed: u64,
    },
    /// Reading a data set was stopped by the caller's `progress`; nothing of it is written.
    #[error("interrupted while reading {path}; nothing is written", path = name(path))]
    Stopped {
        /// The source.
        path: PathBuf,
    },
    /// Another process writes to the same work folder.
    #[error("{path} is held by {holder}, which writes to this folder; end it, or give another folder", path = name(path))]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The process, as far as is known.
        holder: String,
    },
    /// A file is not what it should be.
    #[error("{path}: {problem}", path = name(path), problem = lines(problem))]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the figures and where.
        problem: String,
    },
    /// A configuration key that does not exist.
    #[error("unknown key {key:?}{near}", near = nearest.as_ref().map(|n| format!("; did you mean {n:?}?")).unwrap_or_default())]
    UnknownKey {
        /// The key as given.
        key: String,
        /// The nearest key that exists.
        nearest: Option<String>,
    },
    /// A name (preset, model, sampler) that does not exist.
    #[error("unknown {kind} {name:?}{near}", near = nearest.as_ref().map(|n| format!("; did you mean {n:?}?")).unwrap_or_default())]
    UnknownName {
        /// What kind of thing was named.
        kind: &'static str,
        /// The name as given.
        name: String,
        /// The nearest name that exists.
        nearest: Option<String>,
    },
    /// A value that its key, flag or argument does not allow.
    #[error("{name} = {value}: {problem}", name = shown(name), value = lines(value), problem = lines(problem))]
    Invalid {
        /// The key, flag or argument.
        name: String,
        /// The value as given.
        value: String,
        /// Why not, and what is allowed.
        problem: String,
    },
}

/// A path as messages show it: whatever its bytes, it moves no cursor.
fn name(path: &Path) -> String {
    shown(&path.to_string_lossy()).to_string()
}

/// A text of several lines in which nothing but the ends of lines moves the cursor.
fn lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if is_harmless(c) => out.push(c),
            c => out.extend(c.escape_debug()),
        }
    }
    out
}

impl Error {
    /// An [`Error::Io`] for `path`, for use with `map_err`.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// An [`Error::Format`] for `path`.
    pub fn format(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::Format { path: path.into(), problem: problem.into() }
    }

    /// Whether the device said it: what is on it may be lost.
    pub fn is_of_the_device(&self) -> bool {
        matches!(
            self,
            Self::DeviceRefused { .. }
                | Self::DeviceLost { .. }
                | Self::OutOfMemory { .. }
                | Self::Pipeline { .. }
                | Self::Validation { .. }
        )
    }

    /// An [`Error::Shape`].
    pub fn shape(op: &'static str, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Shape { op, problem: problem.into(), remedy: remedy.into() }
    }

    /// An [`Error::Invalid`].
    pub fn invalid(name: impl Into<String>, value: impl ToString, problem: impl Into<String>) -> Self {
        Self::Invalid { name: name.into(), value: value.to_string(), problem: problem.into() }
    }
}

/// The candidate with the smallest edit distance to `name`, the first of several: what "did you mean" offers.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    candidates.into_iter().min_by_key(|candidate| edit_distance(name, candidate)).map(str::to_owned)
}

/// Levenshtein distance in characters, case ignored.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distances_are_levenshtein() {
        for (a, b, d) in [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("same", "Same", 0)] {
            assert_eq!(edit_distance(a, b), d, "{a} {b}");
        }
        assert_eq!(nearest("vesd", ["vpsde", "vesde"]).as_deref(), Some("vesde"));
        assert_eq!(nearest("x", []), None);
    }
}
