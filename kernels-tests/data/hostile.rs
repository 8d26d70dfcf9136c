//! Damaged and invented files: an error or a correct result, never a panic, never memory without bound.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use langevin::data::{DataConfig, Dataset, Limits, Preprocess, ReadConfig, decode, read_images};
use langevin::formats::npy::{NpyArray, NpyData, read_npy, read_npz, write_npy, write_npz};
use langevin::formats::protobuf::fields;
use langevin::formats::record::{RecordReader, write_record};
use langevin::formats::zip::{ZipReader, ZipWriter};
use langevin::output::{ImageBytes, Provenance, write_png};
use proptest::collection::vec;
use proptest::prelude::*;

/// Good files of every kind that the library reads, small.
fn good_files() -> Vec<(&'static str, Vec<u8>)> {
    let emoji = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-tests/fixtures/emoji/emoji_u2764.png");
    let png = fs::read(emoji).unwrap();
    let mut jpeg = Vec::new();
    let picture = image::load_from_memory(&png).unwrap().into_rgb8();
    picture.write_to(&mut Cursor::new(&mut jpeg), image::ImageFormat::Jpeg).unwrap();
    let array = NpyArray { shape: vec![1, 2, 2, 3], data: NpyData::U8((0..12).collect()) };
    let (mut npy, mut npz, mut records) = (Vec::new(), Vec::new(), Vec::new());
    write_npy(&mut npy, &array).unwrap();
    write_npz(&mut npz, &[("x", &array)]).unwrap();
    write_record(&mut records, b"one").unwrap();
    write_record(&mut records, &[7; 40]).unwrap();
    let mut zip = ZipWriter::new(Vec::new());
    zip.add("a/1.png", &[&png]).unwrap();
    zip.add("b/1.jpg", &[&jpeg]).unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in [("train/a/1.png", &png), ("train/b/1.jpg", &jpeg)] {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    vec![
        ("x.png", png),
        ("x.jpg", jpeg),
        ("x.npy", npy),
        ("x.npz", npz),
        ("x.tfrecords", records),
        ("x.zip", zip.finish().unwrap()),
        ("x.tar", tar.into_inner().unwrap()),
    ]
}

/// Gives the bytes to everything that might be asked to read a file of this name.
fn read_everywhere(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    let limits = Limits { max_side: 256, max_pixels: 1 << 16, max_bytes: 1 << 16, memory: 1 << 20 };
    let _ = decode(bytes, &limits);
    let _ = read_npy(bytes, &path);
    let _ = read_npz(Cursor::new(bytes), &path);
    let _ = fields(bytes).count();
    let _ = Provenance::read(&path);
    let mut records = RecordReader::new(bytes, &path, 1 << 16);
    while let Ok(Some(_)) = records.next_record() {}
    if let Ok(mut zip) = ZipReader::open(Cursor::new(bytes), &path) {
        for i in 0..zip.entries().len() {
            let _ = zip.read(i, 1 << 16);
            let _ = zip.stored_at(i);
        }
    }
    let mut config = DataConfig::new(&path, Preprocess::new(8, 3).unwrap());
    config.limits = limits;
    let _ = Dataset::read_to_memory(&config, &mut |_| true);
    let _ = read_images(&ReadConfig { path, preprocess: None, limits, most: Some(2), any_range: true });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files(
        file in 0..7usize,
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (name, mut bytes) = good_files().swap_remove(file);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        read_everywhere(dir.path(), name, &bytes);
    }

    #[test]
    fn invented_files(kind in 0..7usize, keep in 0..40usize, bytes in vec(any::<u8>(), 0..2000)) {
        let dir = tempfile::tempdir().unwrap();
        let (name, good) = good_files().swap_remove(kind);
        // The beginning of a good file leads a reader deeper than chance would.
        let mut file = good[..keep.min(good.len())].to_vec();
        file.extend(bytes);
        read_everywhere(dir.path(), name, &file);
    }
}

#[test]
fn good_files_are_good() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in good_files() {
        let path = dir.path().join(name);
        fs::write(&path, &bytes).unwrap();
        let config = ReadConfig {
            path: path.clone(),
            preprocess: None,
            limits: Limits::default(),
            most: None,
            any_range: true,
        };
        let readable = read_images(&config).is_ok();
        // The records here are framed well and are no pictures.
        assert_eq!(readable, name != "x.tfrecords", "{name}");
    }
}

#[test]
fn writing_where_nothing_can_be_written() {
    let image = ImageBytes::new([1, 1, 1, 1], vec![1]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"x").unwrap();
    let below: PathBuf = file.join("x.png");
    let error = write_png(&below, &image, &Provenance::new()).unwrap_err().to_string();
    assert!(error.contains("file"), "{error}");
}
