use std::sync::Arc;

use super::*;
use crate::data::decode::tests::png;
use crate::data::{DataConfig, Dataset, Preprocess};

/// A folder with classes `a` and `b` below `train` and `test`, one broken picture, one text file.
fn source(folder: &Path) -> DataConfig {
    for (name, value) in [("train/a/1", 10u8), ("train/a/2", 20), ("train/b/1", 30), ("test/b/9", 40)] {
        let path = folder.join("set").join(format!("{name}.png"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, png(2, 2, png::ColorType::Grayscale, &[value; 4])).unwrap();
    }
    fs::write(folder.join("set/train/a/broken.png"), b"\x89PNG\r\n\x1a\nnot really").unwrap();
    fs::write(folder.join("set/README"), b"text").unwrap();
    let mut config = DataConfig::new(folder.join("set"), Preprocess::new(2, 1).unwrap());
    config.cache_folder = Some(folder.join("cache"));
    config
}

fn open(config: &DataConfig) -> (Arc<Dataset>, bool) {
    let mut packed = false;
    let data = Dataset::open(config, &mut |_| {
        packed = true;
        true
    })
    .unwrap();
    (data, packed)
}

fn check(data: &Arc<Dataset>) {
    assert_eq!(data.classes(), ["a", "b"]);
    assert_eq!(data.bad().len(), 1);
    assert_eq!(data.bad()[0].name, "train/a/broken.png");
    let train = data.subset(Split::Train).unwrap();
    let mut row = [0; 4];
    let seen: Vec<(u8, i32)> = (0..train.len())
        .map(|i| {
            data.read(train.number(i), &mut row).unwrap();
            (row[0], data.label(train.number(i)))
        })
        .collect();
    assert_eq!(seen, [(10, 0), (20, 0), (30, 1)]);
    let test = data.subset(Split::Test).unwrap();
    data.read(test.number(0), &mut row).unwrap();
    assert_eq!((test.len(), row, data.label(test.number(0))), (1, [40; 4], 1));
}

fn only_file(folder: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[test]
fn packed_once_and_again_when_the_source_changes() {
    let dir = tempfile::tempdir().unwrap();
    let config = source(dir.path());
    let (data, packed) = open(&config);
    assert!(packed);
    check(&data);
    let (data, packed) = open(&config);
    assert!(!packed);
    check(&data);

    let another = dir.path().join("set/train/b/2.png");
    fs::write(another, png(2, 2, png::ColorType::Grayscale, &[50; 4])).unwrap();
    let (data, packed) = open(&config);
    assert!(packed);
    assert_eq!(data.len(), 5);
    // It replaced the old one.
    only_file(&dir.path().join("cache"));

    // An edit that keeps size and time, as some editors and copies make it.
    let edited = dir.path().join("set/train/b/1.png");
    let before = fs::metadata(&edited).unwrap();
    let mut bytes = png(2, 2, png::ColorType::Grayscale, &[30; 4]);
    assert_eq!(bytes.len() as u64, before.len());
    let changed = png(2, 2, png::ColorType::Grayscale, &[31; 4]);
    assert_eq!(bytes.len(), changed.len());
    bytes = changed;
    fs::write(&edited, bytes).unwrap();
    File::options().write(true).open(&edited).unwrap().set_modified(before.modified().unwrap()).unwrap();
    assert!(open(&config).1, "the edit was not noticed");
    assert!(!open(&config).1);
    assert!(open(&DataConfig { repack: true, ..config.clone() }).1);

    let coloured = DataConfig { preprocess: Preprocess::new(2, 3).unwrap(), ..config };
    assert!(open(&coloured).1);
    assert_eq!(fs::read_dir(dir.path().join("cache")).unwrap().count(), 2);
}

#[test]
fn a_damaged_cache_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let config = source(dir.path());
    open(&config);
    let path = only_file(&dir.path().join("cache"));
    let good = fs::read(&path).unwrap();
    let tables = ROWS_AT as usize;
    // One bit in every byte that means something, every kind of cut, and what is no cache at all.
    let places: Vec<usize> = (0..HEADER).chain(tables..good.len()).collect();
    for at in places {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&path, &bytes).unwrap();
        let fingerprint = u64::from_le_bytes(good[28..36].try_into().unwrap());
        assert!(Cache::open(&path, fingerprint, &config.preprocess).is_none(), "byte {at}");
    }
    for bytes in
        [&good[..10], &good[..HEADER], &good[..good.len() - 1], b"", b"something else, of some length"]
    {
        fs::write(&path, bytes).unwrap();
        let (data, packed) = open(&config);
        assert!(packed);
        check(&data);
        assert_eq!(fs::read(&path).unwrap(), good);
    }
}

#[test]
fn damage_after_opening_is_an_error_not_a_wrong_image() {
    let dir = tempfile::tempdir().unwrap();
    let config = source(dir.path());
    let (data, _) = open(&config);
    let path = only_file(&dir.path().join("cache"));
    let mut bytes = fs::read(&path).unwrap();
    bytes[ROWS_AT as usize..ROWS_AT as usize + 16].fill(7);
    fs::write(&path, bytes).unwrap();
    let error = data.read(0, &mut [0; 4]).unwrap_err().to_string();
    assert!(error.contains("damaged"), "{error}");
    File::options().write(true).open(&path).unwrap().set_len(ROWS_AT).unwrap();
    assert!(data.read(0, &mut [0; 4]).is_err());
}

#[test]
fn an_interrupted_packing_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache/x.data");
    let mut writer = CacheWriter::create(&path).unwrap();
    writer.push(&[1; 4]).unwrap();
    assert_eq!(fs::read_dir(dir.path().join("cache")).unwrap().count(), 1);
    drop(writer);
    assert_eq!(fs::read_dir(dir.path().join("cache")).unwrap().count(), 0);
}

#[test]
fn a_packing_that_is_stopped_leaves_nothing_behind_and_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let config = source(dir.path());
    let mut asked = 0;
    let stop = &mut |_| {
        asked += 1;
        false
    };
    assert!(matches!(Dataset::open(&config, stop), Err(Error::Stopped { .. })));
    assert_eq!(asked, 1, "it goes on after it was stopped");
    assert_eq!(fs::read_dir(dir.path().join("cache")).unwrap().count(), 0);
    assert!(open(&config).1);
}

#[test]
fn a_source_without_pictures_is_an_error_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("set")).unwrap();
    fs::write(dir.path().join("set/x.png"), b"").unwrap();
    let mut config = DataConfig::new(dir.path().join("set"), Preprocess::new(2, 1).unwrap());
    config.cache_folder = Some(dir.path().join("cache"));
    let error = Dataset::open(&config, &mut |_| true).unwrap_err().to_string();
    assert!(error.contains("no readable picture") && error.contains("x.png: an empty file"), "{error}");
    config.path = dir.path().join("nothing");
    assert!(matches!(Dataset::open(&config, &mut |_| true), Err(Error::Io { .. })));
}

/// Without a folder the pixels stay in memory, which has a bound.
#[test]
fn pixels_in_memory_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let config = DataConfig { cache_folder: None, ..source(dir.path()) };
    let whole = Dataset::open(&config, &mut |_| true).unwrap();
    let bytes = (whole.len() * config.preprocess.bytes()) as u64;
    assert!(Dataset::read_within(&config, bytes, &mut |_| true).is_ok());
    let refused = Dataset::read_within(&config, bytes - 1, &mut |_| true).unwrap_err().to_string();
    assert!(refused.contains(&format!("more than {} bytes of pixels", bytes - 1)), "{refused}");
}
