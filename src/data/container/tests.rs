use std::fs::File;
use std::io::Write;

use super::*;
use crate::data::decode::tests::png;
use crate::data::tfrecord::tests::example;
use crate::data::{DataConfig, Dataset, Preprocess, Split};
use crate::formats::record::write_record;
use crate::formats::zip::ZipWriter;

/// Two classes in two splits, 3 x 3 RGB, every pixel with a value of its own.
fn files() -> Vec<(String, Vec<u8>)> {
    let mut files = vec![("top/README.txt".to_string(), b"text".to_vec())];
    for (i, name) in ["top/test/y/1.png", "top/train/y/3.png", "top/train/x/2.png"].into_iter().enumerate() {
        let pixels: Vec<u8> = (0..27).map(|p| (p + 60 * i) as u8).collect();
        files.push((name.to_string(), png(3, 3, png::ColorType::Rgb, &pixels)));
    }
    files
}

fn tar_of(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut out = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn zip_of(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Vec::new());
    for (name, bytes) in files {
        zip.add(name, &[bytes]).unwrap();
    }
    zip.finish().unwrap()
}

/// Everything a data set says: (pixels, label) in order, classes, how many are in the split train.
type Contents = (Vec<(Vec<u8>, i32)>, Vec<String>, usize);

fn contents(path: &Path, side: u32) -> Result<Contents> {
    let config = DataConfig::new(path, Preprocess::new(side, 3)?);
    let data = std::sync::Arc::new(Dataset::read_to_memory(&config, &mut |_| true)?);
    let mut row = vec![0; data.preprocess().bytes()];
    let mut images = Vec::new();
    for i in 0..data.len() {
        data.read(i, &mut row)?;
        images.push((row.clone(), data.label(i)));
    }
    Ok((images, data.classes().to_vec(), data.subset(Split::Train)?.len()))
}

#[test]
fn every_container_gives_the_same_data_set() {
    let dir = tempfile::tempdir().unwrap();
    let files = files();
    let folder = dir.path().join("folder");
    for (name, bytes) in &files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let expected = contents(&folder, 3).unwrap();
    assert_eq!(expected.1, ["x", "y"]);
    assert_eq!(expected.2, 2);
    let starts: Vec<(u8, i32)> = expected.0.iter().map(|(p, l)| (p[0], *l)).collect();
    assert_eq!(starts, [(120, 0), (60, 1), (0, 1)]);
    let tar = tar_of(&files);
    // The names say nothing: the first bytes decide.
    for (name, bytes) in [("a", xz(&tar)), ("b", gz(&tar)), ("d", zip_of(&files)), ("c", tar)] {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        assert_eq!(contents(&path, 3).unwrap(), expected, "{name}");
    }
}

#[test]
fn cifar_binary_in_a_folder_and_in_its_archive() {
    let dir = tempfile::tempdir().unwrap();
    let record = |label: u8, value: u8| {
        let mut r = vec![value; 3073];
        r[0] = label;
        r
    };
    let batches = [
        ("cifar-10-batches-bin/data_batch_1.bin".to_string(), [record(6, 1), record(0, 2)].concat()),
        (
            "cifar-10-batches-bin/data_batch_2.bin".to_string(),
            (1..10).flat_map(|l| record(l, 10 + l)).collect(),
        ),
        ("cifar-10-batches-bin/test_batch.bin".to_string(), record(3, 99)),
        ("cifar-10-batches-bin/batches.meta.txt".to_string(), b"airplane\n".to_vec()),
    ];
    let archive = dir.path().join("cifar-10-binary.tar.gz");
    fs::write(&archive, gz(&tar_of(&batches))).unwrap();
    let (images, classes, train) = contents(&archive, 32).unwrap();
    assert_eq!((images.len(), train), (12, 11));
    assert_eq!(classes, crate::data::CIFAR10_CLASSES);
    let by_label: Vec<(u8, i32)> = images.iter().map(|(p, l)| (p[0], *l)).collect();
    assert_eq!(by_label[0], (2, 0));
    assert!(by_label.contains(&(1, 6)) && by_label.contains(&(16, 6)));
    assert_eq!(by_label[11], (99, 3));
    let folder = dir.path().join("f");
    fs::create_dir(&folder).unwrap();
    for (name, bytes) in &batches {
        fs::write(folder.join(name.rsplit('/').next().unwrap()), bytes).unwrap();
    }
    assert_eq!(contents(&folder, 32).unwrap(), (images, classes, train));
}

#[test]
fn tfrecords_of_the_right_resolution() {
    let dir = tempfile::tempdir().unwrap();
    for (level, side) in [(1u32, 2u8), (2, 4)] {
        let mut file = Vec::new();
        for i in 0..3 {
            let pixels = vec![10 * i + side; 3 * usize::from(side) * usize::from(side)];
            write_record(&mut file, &example(&[3, side, side], &pixels)).unwrap();
        }
        fs::write(dir.path().join(format!("ffhq-r{level:02}.tfrecords")), file).unwrap();
    }
    let (images, classes, _) = contents(dir.path(), 4).unwrap();
    assert!(classes.is_empty());
    let values: Vec<(u8, i32)> = images.iter().map(|(p, l)| (p[0], *l)).collect();
    assert_eq!(values, [(4, -1), (14, -1), (24, -1)]);
    let (images, ..) = contents(&dir.path().join("ffhq-r01.tfrecords"), 2).unwrap();
    assert_eq!(images.len(), 3);
}

#[test]
fn damaged_archives_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let tar = tar_of(&files());
    let damaged = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        contents(&path, 3).err().map(|e| e.to_string())
    };
    for packed in [xz(&tar), gz(&tar)] {
        for keep in [packed.len() / 2, packed.len() - 1] {
            let error = damaged(&packed[..keep]).expect("an error");
            assert!(error.contains("damaged after") || error.contains("not a data set"), "{error}");
        }
        let mut flipped = packed.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 4;
        assert!(damaged(&flipped).is_some());
    }
    assert!(damaged(&tar[..tar.len() / 2]).is_some());
    assert!(damaged(b"hello").unwrap().contains("known are"));
    assert!(damaged(b"").is_some());
}

#[test]
fn flipped_bits_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let tar = tar_of(&files());
    for packed in [xz(&tar), gz(&tar), zip_of(&files()), tar] {
        for step in 0..150 {
            let mut bytes = packed.clone();
            let bit = (step * 7919 + 13) % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, bytes).unwrap();
            let _ = contents(&path, 3);
        }
    }
}

#[test]
fn bombs_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bomb.tar.gz");
    let mut header = tar::Header::new_gnu();
    header.set_path("zeros.txt").unwrap();
    header.set_size(1 << 40);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    let mut out = flate2::write::GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::best());
    out.write_all(header.as_bytes()).unwrap();
    for _ in 0..120 {
        out.write_all(&[0; 1 << 20]).unwrap();
    }
    out.finish().unwrap();
    let error = contents(&path, 3).unwrap_err().to_string();
    assert!(error.contains("times its size"), "{error}");
}

#[test]
fn a_picture_over_the_limit_is_reported_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.tar");
    fs::write(&path, tar_of(&files())).unwrap();
    let limits = Limits { max_bytes: 60, ..Limits::default() };
    let mut bad = Vec::new();
    let ignored = walk(&path, None, &limits, &mut |item| {
        if let Body::Bad(why) = item.body {
            bad.push(why);
        }
        Ok(())
    });
    assert_eq!(ignored.unwrap().total, 1);
    assert_eq!(bad.len(), 3);
    assert!(bad[0].contains("over the limit of 60"));
}

#[cfg(unix)]
#[test]
fn loops_and_dangling_links_are_survived() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(dir.path(), dir.path().join("loop")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("nothing"), dir.path().join("gone.png")).unwrap();
    fs::write(dir.path().join("a.png"), png(1, 1, png::ColorType::Grayscale, &[5])).unwrap();
    let (images, ..) = contents(dir.path(), 1).unwrap();
    assert_eq!(images, [(vec![5; 3], -1)]);
}
