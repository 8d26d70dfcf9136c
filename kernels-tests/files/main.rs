//! Weights as files: what torch.save, safetensors and diffusers write; files that lie; and a work folder that is stopped at every write.
//!
//! `data/` holds small files that `tools/make_torch_fixtures.py` wrote with torch itself.

mod counting;
mod crash;
mod diffusers;
mod fuzzed;
mod hostile;
mod npz;
mod pickles;
mod resume;
mod safetensors;
mod strangers;
mod torch;
mod zips;

use std::path::{Path, PathBuf};

use langevin::checkpoint::{Tensor, Tensors};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// A file under `data/`.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-tests/files/data").join(name)
}

/// The bytes of a file under `data/`.
pub fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(data(name)).unwrap()
}

/// Same name, type, shape and bytes.
#[track_caller]
pub fn assert_same(got: &Tensor, expected: &Tensor, name: &str) {
    assert_eq!(got.dtype(), expected.dtype(), "{name}");
    assert_eq!(got.shape(), expected.shape(), "{name}");
    assert_eq!(got.bytes().unwrap(), expected.bytes().unwrap(), "{name}");
}

/// The tensors of a safetensors file under `data/`.
pub fn expected(name: &str) -> Tensors {
    langevin::checkpoint::safetensors::open(data(name)).unwrap().tensors
}

/// The error's text; fails where there is none, or where it does not name the file.
#[track_caller]
pub fn refused<T>(result: langevin::Result<T>, file: &str) -> String {
    let message = match result {
        Ok(_) => panic!("{file} was read"),
        Err(error) => error.to_string(),
    };
    assert!(message.contains(file), "{message:?} does not name {file:?}");
    message
}
