use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use langevin::data::{
    CheckConfig, DataConfig, Dataset, Limits, Loader, LoaderConfig, LoaderState, Preprocess, ReadConfig,
    Split, Values, check, read_images,
};
use langevin::formats::crc::crc32;
use langevin::formats::npy::{NpyArray, NpyData};
use langevin::output::{Provenance, grid, to_bytes, write_npz, write_png, write_safetensors};

/// Name of the file and CRC-32 of its 32 x 32 RGB pixels on white, by Pillow and NumPy.
const EMOJI: [(&str, u32); 8] = [
    ("emoji_u1f308.png", 0x90a8_1ee3),
    ("emoji_u1f33b.png", 0x8d6b_1cf4),
    ("emoji_u1f355.png", 0xd00c_4321),
    ("emoji_u1f40b.png", 0x64c2_dab9),
    ("emoji_u1f431.png", 0x1c38_1095),
    ("emoji_u1f600.png", 0x3308_a8b3),
    ("emoji_u1f680.png", 0x3179_4619),
    ("emoji_u2764.png", 0xd604_998d),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-tests/fixtures/emoji")
}

fn rgb32() -> Preprocess {
    Preprocess::new(32, 3).unwrap()
}

/// The pictures as a tar.xz with two classes and a test split, in an order that is not alphabetical.
fn archive(path: &Path) {
    let mut tar = tar::Builder::new(Vec::new());
    for (i, (name, _)) in EMOJI.iter().enumerate().rev() {
        let class = if i % 2 == 0 { "even" } else { "odd" };
        let split = if i < 6 { "train" } else { "test" };
        let bytes = fs::read(folder().join(name)).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, format!("emoji/{split}/{class}/{name}"), bytes.as_slice()).unwrap();
    }
    let options = lzma_rust2::XzOptions::with_preset(6);
    let mut xz = lzma_rust2::XzWriter::new(fs::File::create(path).unwrap(), options).unwrap();
    xz.write_all(&tar.into_inner().unwrap()).unwrap();
    xz.finish().unwrap();
}

#[test]
fn pixels_are_those_that_pillow_gives() {
    let data = Dataset::read_to_memory(&DataConfig::new(folder(), rgb32()), &mut |_| true).unwrap();
    let mut row = vec![0; data.preprocess().bytes()];
    assert_eq!(data.len(), EMOJI.len());
    for (i, (name, crc)) in EMOJI.iter().enumerate() {
        data.read(i, &mut row).unwrap();
        assert_eq!(crc32([row.as_slice()]), *crc, "{name}");
    }
}

#[test]
fn grey_is_pillows_too() {
    let config = DataConfig::new(folder(), Preprocess::new(32, 1).unwrap());
    let data = Dataset::read_to_memory(&config, &mut |_| true).unwrap();
    let mut row = vec![0; 1024];
    for (i, crc) in [0x59c9_0e6e, 0x2b28_8fdf].into_iter().enumerate() {
        data.read(i, &mut row).unwrap();
        assert_eq!(crc32([row.as_slice()]), crc);
    }
}

#[test]
fn from_an_archive_through_the_cache_to_batches() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("emoji.tar.xz");
    archive(&path);
    let mut config = DataConfig::new(&path, rgb32());
    config.cache_folder = Some(dir.path().join("cache"));
    for cached in [false, true] {
        let mut packed = 0;
        let data = Dataset::open(&config, &mut |done| {
            packed = done;
            true
        })
        .unwrap();
        assert_eq!(packed, if cached { 0 } else { 8 }, "the second time the cache serves");
        assert_eq!(data.classes(), ["even", "odd"]);
        assert_eq!(data.subset(Split::Test).unwrap().len(), 2);
        let train = data.subset(Split::Train).unwrap();
        let mut loader = Loader::new(train, LoaderConfig::evaluation(6), LoaderState::default()).unwrap();
        let batch = loader.next_batch().unwrap().unwrap();
        assert_eq!(batch.shape, [6, 32, 32, 3]);
        assert_eq!(batch.labels, [0, 0, 0, 1, 1, 1]);
        let crcs: Vec<u32> = batch.as_u8().unwrap().chunks(3072).map(|row| crc32([row])).collect();
        assert_eq!(crcs, [0, 2, 4, 1, 3, 5].map(|i: usize| EMOJI[i].1));
        assert!(loader.next_batch().unwrap().is_none());
    }
}

#[test]
fn a_resumed_run_sees_what_the_uninterrupted_one_sees() {
    let data = Arc::new(Dataset::read_to_memory(&DataConfig::new(folder(), rgb32()), &mut |_| true).unwrap());
    let config = LoaderConfig {
        flip: true,
        values: Values::F32 { dequantize: true, centered: false },
        ..LoaderConfig::training(3, 11)
    };
    let begin = |state| Loader::new(data.subset(Split::Train).unwrap(), config, state).unwrap();
    let mut whole = begin(LoaderState::default());
    let mut first = begin(LoaderState::default());
    for _ in 0..5 {
        assert_eq!(whole.next_batch().unwrap(), first.next_batch().unwrap());
    }
    let mut second = begin(first.state());
    drop(first);
    for _ in 0..7 {
        assert_eq!(whole.next_batch().unwrap(), second.next_batch().unwrap());
    }
}

#[test]
fn sigma_max_is_the_largest_distance() {
    let config = CheckConfig { path: folder(), preprocess: None, limits: Limits::default(), seed: 0 };
    let report = check(&config, &mut |_| true).unwrap();
    assert_eq!((report.images, report.image_size, report.channels), (8, Some(32), Some(3)));
    assert_eq!(report.ignored, 1, "the README");
    let sigma = report.sigma_max.unwrap();
    // By NumPy over all pairs.
    assert!((sigma.value - 22.879_412_079_782_416).abs() < 1e-9, "{sigma:?}");
    assert!(sigma.exhaustive);
}

#[test]
fn what_is_written_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        |path| ReadConfig { path, preprocess: None, limits: Limits::default(), most: None, any_range: false };
    let images = read_images(&config(folder())).unwrap();
    assert_eq!(images.shape, [8, 3, 32, 32]);
    let bytes = to_bytes(&images.values, images.shape).unwrap();
    let crcs: Vec<u32> = bytes.pixels.chunks(3072).map(|row| crc32([row])).collect();
    assert_eq!(crcs, EMOJI.map(|(_, crc)| crc));
    assert!(bytes.blank().is_empty());

    // A folder of PNGs, a .npz and a .safetensors hold the same.
    let out = dir.path().join("png");
    for i in 0..8 {
        let path = out.join(format!("{i}.png"));
        write_png(&path, &bytes.image(i).unwrap(), &Provenance::new().with("seeds", i.to_string())).unwrap();
        assert_eq!(Provenance::read(&path).unwrap().unwrap().get("seeds"), Some(i.to_string().as_str()));
    }
    assert_eq!(read_images(&config(out)).unwrap().values, images.values);
    let npz = dir.path().join("x.npz");
    let array = NpyArray { shape: bytes.shape.to_vec(), data: NpyData::U8(bytes.pixels.clone()) };
    write_npz(&npz, &[("samples", &array)]).unwrap();
    assert_eq!(read_images(&config(npz)).unwrap().values, images.values);
    let tensors = dir.path().join("x.safetensors");
    write_safetensors(&tensors, &[("x", &images.shape, &images.values)], &[]).unwrap();
    assert_eq!(read_images(&config(tensors)).unwrap().values, images.values);

    // The grid is one picture of 2 columns and 4 rows.
    let path = dir.path().join("grid.png");
    let whole = grid(&bytes, None).unwrap();
    write_png(&path, &whole, &Provenance::new()).unwrap();
    let prep = Some(Preprocess { fit: langevin::data::Fit::Pad, ..Preprocess::new(140, 3).unwrap() });
    let back = read_images(&ReadConfig { preprocess: prep, ..config(path) }).unwrap();
    assert_eq!((whole.shape, back.shape), ([1, 138, 70, 3], [1, 3, 140, 140]));
    // Centred on black: a row above, 35 columns to the left.
    let framed = to_bytes(&back.values, back.shape).unwrap();
    let rows = framed.pixels.chunks(140 * 3).skip(1).take(138);
    let inside: Vec<u8> = rows.flat_map(|row| row[35 * 3..105 * 3].to_vec()).collect();
    assert!(inside == whole.pixels, "the grid has other pixels");
}
