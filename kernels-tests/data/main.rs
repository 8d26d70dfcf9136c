//! Data sets and output from the outside: real pictures through archive, cache, loader, grid and back, and every reader
//! against bytes that nobody promised anything about.

mod emoji;
mod hostile;
