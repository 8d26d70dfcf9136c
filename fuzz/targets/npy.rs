//! `.npy` arrays and `.npz` archives.

#![no_main]

use std::io::Cursor;
use std::path::Path;

use langevin::formats::npy::{NpzReader, read_npy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("fuzz");
    if let Ok(array) = read_npy(bytes, path) {
        assert_eq!(array.shape.iter().product::<usize>(), array.data.len());
        return;
    }
    let Ok(mut file) = NpzReader::open(Cursor::new(bytes), path) else { return };
    let names: Vec<String> = file.names().take(4).map(str::to_owned).collect();
    for name in names {
        let _ = file.read(&name);
    }
});
