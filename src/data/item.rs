//! What a walk over a source hands out: pictures by name, not decoded yet.

use std::path::PathBuf;

use super::decode::Picture;
use crate::Result;

/// One picture on its way.
pub(crate) struct Item {
    /// Path inside the container, `/` between folders.
    pub(crate) name: String,
    /// Its contents, as far as the walk got.
    pub(crate) body: Body,
}

/// The contents of an [`Item`].
pub(crate) enum Body {
    /// A file of its own.
    File(PathBuf),
    /// The bytes of a picture file.
    Encoded(Vec<u8>),
    /// Pixels.
    Raw(Picture),
    /// Unreadable, and why.
    Bad(String),
}

/// Takes the pictures of a walk.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(Item) -> Result<()>;
