use std::io::Cursor as Mem;

use super::*;

/// `zipfile` of Python 3.11: "a.txt" deflated (100 times "x"), "b/c.bin" stored (1, 2, 3), dates of 1980.
#[rustfmt::skip]
const PYTHON: &[u8] = &[
    80, 75, 3, 4, 20, 0, 0, 0, 8, 0, 0, 0, 33, 0, 143, 93, 14, 94, 6, 0, 0, 0, 100, 0,
    0, 0, 5, 0, 0, 0, 97, 46, 116, 120, 116, 171, 168, 160, 61, 0, 0, 80, 75, 3, 4, 20, 0, 0,
    0, 0, 0, 0, 0, 33, 0, 29, 128, 188, 85, 3, 0, 0, 0, 3, 0, 0, 0, 7, 0, 0, 0, 98,
    47, 99, 46, 98, 105, 110, 1, 2, 3, 80, 75, 1, 2, 20, 3, 20, 0, 0, 0, 8, 0, 0, 0, 33,
    0, 143, 93, 14, 94, 6, 0, 0, 0, 100, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 128, 1, 0, 0, 0, 0, 97, 46, 116, 120, 116, 80, 75, 1, 2, 20, 3, 20, 0, 0, 0, 0, 0,
    0, 0, 33, 0, 29, 128, 188, 85, 3, 0, 0, 0, 3, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 128, 1, 41, 0, 0, 0, 98, 47, 99, 46, 98, 105, 110, 80, 75, 5, 6, 0, 0, 0,
    0, 2, 0, 2, 0, 104, 0, 0, 0, 81, 0, 0, 0, 0, 0,
];

fn open(bytes: &[u8]) -> Result<ZipReader<Mem<&[u8]>>> {
    ZipReader::open(Mem::new(bytes), Path::new("mem.zip"))
}

fn write(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Vec::new());
    for (name, data) in entries {
        let (a, b) = data.split_at(data.len() / 2);
        zip.add(name, &[a, b]).unwrap();
    }
    zip.finish().unwrap()
}

#[test]
fn reads_what_python_wrote() {
    let mut zip = open(PYTHON).unwrap();
    let names: Vec<_> = zip.entries().iter().map(|e| e.name.clone()).collect();
    assert_eq!(names, ["a.txt", "b/c.bin"]);
    assert_eq!(zip.read(0, 1000).unwrap(), [b'x'; 100]);
    assert_eq!(zip.read(1, 1000).unwrap(), [1, 2, 3]);
    assert_eq!(zip.stored_at(0).unwrap(), None);
    let at = zip.stored_at(1).unwrap().unwrap() as usize;
    assert_eq!(PYTHON[at..at + 3], [1, 2, 3]);
}

#[test]
fn round_trip_and_equal_bytes() {
    let entries: [(&str, &[u8]); 3] = [("x.npy", b"abc"), ("empty", b""), ("\u{e4}", &[0; 5000])];
    let bytes = write(&entries);
    assert_eq!(bytes, write(&entries));
    let mut zip = open(&bytes).unwrap();
    for (i, (name, data)) in entries.iter().enumerate() {
        assert_eq!(zip.entries()[i].name, *name);
        assert_eq!(zip.read(i, 5000).unwrap(), *data);
    }
    assert!(zip.read(3, 5000).is_err());
    assert!(zip.read(2, 4999).unwrap_err().to_string().contains("over the limit"));
}

#[test]
fn more_than_65535_entries() {
    let mut zip = ZipWriter::new(Vec::new());
    for i in 0..65_600 {
        zip.add(&format!("{i}"), &[&[i as u8]]).unwrap();
    }
    let bytes = zip.finish().unwrap();
    let mut zip = open(&bytes).unwrap();
    assert_eq!(zip.entries().len(), 65_600);
    assert_eq!(zip.read(65_599, 1).unwrap(), [65_599u32 as u8]);
}

#[test]
fn overlapping_entries_are_refused() {
    let mut bytes = write(&[("a", &[7; 64]), ("b", &[8; 64])]);
    // Point the second directory entry at the first local header.
    let second = bytes.windows(4).rposition(|w| w == CENTRAL.to_le_bytes()).unwrap();
    bytes[second + 42..second + 46].fill(0);
    assert!(open(&bytes).unwrap_err_string().contains("overlaps"));
}

trait ErrString {
    fn unwrap_err_string(self) -> String;
}

impl<T> ErrString for Result<T> {
    fn unwrap_err_string(self) -> String {
        self.err().expect("an error").to_string()
    }
}

#[test]
fn a_lying_size_is_an_error() {
    let mut bytes = PYTHON.to_vec();
    let first = bytes.windows(4).position(|w| w == CENTRAL.to_le_bytes()).unwrap();
    for claimed in [99u32, 101, 0xffff_fff0] {
        bytes[first + 24..first + 28].copy_from_slice(&claimed.to_le_bytes());
        let mut zip = open(&bytes).unwrap();
        assert!(zip.read(0, u64::MAX - 1).unwrap_err().to_string().contains("does not unpack to"));
    }
}

#[test]
fn cuts_and_flips_never_panic() {
    for cut in 0..PYTHON.len() {
        assert!(open(&PYTHON[..cut]).is_err(), "cut at {cut}");
    }
    for bit in 0..PYTHON.len() * 8 {
        let mut bytes = PYTHON.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(mut zip) = open(&bytes) {
            for i in 0..zip.entries().len() {
                if let Ok(data) = zip.read(i, 1000) {
                    assert!(data == [b'x'; 100] || data == [1, 2, 3], "bit {bit} changed data unnoticed");
                }
            }
        }
    }
}
