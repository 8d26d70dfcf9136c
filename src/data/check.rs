//! A look at a source before a long run: what is there, what is broken, and how large σ_max should be.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::path::PathBuf;

use rayon::prelude::*;
use serde::Serialize;

use super::dataset::fnv;
use super::decode::Limits;
use super::ingest::{BadImage, Preparation, ingest};
use super::layout::{Split, layout};
use super::preprocess::Preprocess;
use crate::Result;
use crate::random::draws::{self, Purpose};

/// What to look at.
#[derive(Clone, Debug)]
pub struct CheckConfig {
    /// The source.
    pub path: PathBuf,
    /// Size, channels, recipe; if none, those of the first readable picture.
    pub preprocess: Option<Preprocess>,
    /// What a picture may cost.
    pub limits: Limits,
    /// Chooses the images among which σ_max is estimated.
    pub seed: u64,
}

/// How many pictures have this size in the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct SizeCount {
    pub width: u32,
    pub height: u32,
    pub channels: u32,
    pub images: u64,
}

/// One class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// Its folder.
    pub name: String,
    /// Images in the split train.
    pub train: u64,
    /// Images in the split test.
    pub test: u64,
}

/// The authors' heuristic ("Technique 1" of Song and Ermon 2020, used for σ_max in Song et al. 2021, appendix C): as large
/// as the largest Euclidean distance between two images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SigmaMax {
    /// The largest distance found, with pixels in [0, 1].
    pub value: f64,
    /// How many images were compared, each with each. A sample's largest distance is a lower bound.
    pub sample: usize,
    /// Whether these were all.
    pub exhaustive: bool,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckReport {
    /// Readable pictures.
    pub images: u64,
    /// Of these, in the split train.
    pub train: u64,
    /// Of these, in the split test.
    pub test: u64,
    /// Width and height after preprocessing; none where no picture is readable.
    pub image_size: Option<u32>,
    /// Channels after preprocessing.
    pub channels: Option<u32>,
    /// Sizes in the source, the most frequent first.
    pub sizes: Vec<SizeCount>,
    /// The classes in the order of their labels; empty where there are fewer than two.
    pub classes: Vec<ClassCount>,
    /// Pictures that cannot be used, with reasons.
    pub bad: Vec<BadImage>,
    /// Files and folders that are no part of the data set.
    pub ignored: u64,
    /// The first of them, with reasons.
    pub left_out: Vec<BadImage>,
    /// None where fewer than two images are readable.
    pub sigma_max: Option<SigmaMax>,
}

/// Bytes compared for σ_max, at most: a few seconds on two cores.
const COMPARED: f64 = 8e9;

/// Decodes every picture of a source once and reports. `progress` hears the number done so far and may end it by
/// returning false.
///
/// # Errors
/// As [`super::Dataset::open`], except that a source without readable pictures is a report.
pub fn check(config: &CheckConfig, progress: &mut dyn FnMut(u64) -> bool) -> Result<CheckReport> {
    let prep = config.preprocess.map_or(Preparation::FirstPicture, Preparation::Known);
    let mut used = config.preprocess;
    let mut sample = Sample { seed: config.seed, budget: COMPARED, rows: BinaryHeap::new() };
    let mut take = |name: &str, row: &[u8], prep: &Preprocess| {
        used = Some(*prep);
        sample.offer(name, row);
        Ok(())
    };
    let found = ingest(&config.path, prep, &config.limits, None, &mut take, progress)?;
    let layout = layout(&found.names);
    let count = |wanted: &dyn Fn(&(usize, i32, Split)) -> bool| {
        layout.images.iter().filter(|i| wanted(i)).count() as u64
    };
    let classes = (0..)
        .zip(&layout.classes)
        .map(|(label, name)| ClassCount {
            name: name.clone(),
            train: count(&|i| i.1 == label && i.2 == Split::Train),
            test: count(&|i| i.1 == label && i.2 == Split::Test),
        })
        .collect();
    let mut sizes: Vec<SizeCount> = found
        .sizes
        .iter()
        .map(|(&(width, height, channels), &images)| SizeCount { width, height, channels, images })
        .collect();
    sizes.sort_by_key(|s| std::cmp::Reverse(s.images));
    let good = !found.names.is_empty();
    Ok(CheckReport {
        images: found.names.len() as u64,
        train: count(&|i| i.2 == Split::Train),
        test: count(&|i| i.2 == Split::Test),
        image_size: used.filter(|_| good).map(|p| p.image_size),
        channels: used.filter(|_| good).map(|p| p.channels),
        sizes,
        classes,
        bad: found.bad,
        ignored: found.left_out.total,
        left_out: found.left_out.first,
        sigma_max: sample.sigma_max(found.names.len()),
    })
}

/// The images with the smallest hash of seed and name: the same sample in whatever order the source is read.
struct Sample {
    seed: u64,
    budget: f64,
    rows: BinaryHeap<Row>,
}

struct Row {
    rank: u64,
    pixels: Vec<u8>,
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl Eq for Row {}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Row {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank.cmp(&other.rank)
    }
}

impl Sample {
    fn offer(&mut self, name: &str, pixels: &[u8]) {
        // The number of pairs times the bytes of an image is what the comparison costs.
        let most = (2.0 * self.budget / pixels.len() as f64).sqrt().clamp(16.0, 4000.0) as usize;
        // The last folder and the file: an archive and its folder may differ in what lies above.
        let tail = name.rmatch_indices('/').nth(1).map_or(name, |(at, _)| &name[at + 1..]);
        let hash = fnv(&[tail.as_bytes()]);
        let [a, b, ..] = draws::draw(self.seed, Purpose::Sample, hash, hash >> 32, 0);
        let rank = u64::from(a) << 32 | u64::from(b);
        if self.rows.len() < most {
            self.rows.push(Row { rank, pixels: pixels.to_vec() });
        } else if let Some(mut largest) = self.rows.peek_mut()
            && rank < largest.rank
        {
            largest.rank = rank;
            largest.pixels.copy_from_slice(pixels);
        }
    }

    fn sigma_max(self, images: usize) -> Option<SigmaMax> {
        let rows: Vec<Vec<u8>> = self.rows.into_iter().map(|r| r.pixels).collect();
        let largest = (1..rows.len())
            .into_par_iter()
            .filter_map(|i| rows[..i].iter().map(|other| squared_distance(&rows[i], other)).max())
            .max()?;
        let (sample, exhaustive) = (rows.len(), rows.len() == images);
        Some(SigmaMax { value: (largest as f64).sqrt() / 255.0, sample, exhaustive })
    }
}

fn squared_distance(a: &[u8], b: &[u8]) -> u64 {
    // 65,025 times 16,384 stays below 2^32.
    let parts = a.chunks(16_384).zip(b.chunks(16_384));
    parts
        .map(|(a, b)| {
            let sum: u32 =
                a.iter().zip(b).map(|(&a, &b)| u32::from(a.abs_diff(b)) * u32::from(a.abs_diff(b))).sum();
            u64::from(sum)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::decode::tests::png;
    use super::*;

    #[test]
    fn a_folder_with_everything() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        let grey = |w, h, v| png(w, h, png::ColorType::Grayscale, &vec![v; (w * h) as usize]);
        put("train/b/1.png", &grey(4, 4, 0));
        put("train/b/2.png", &grey(4, 4, 51));
        put("train/a/1.png", &grey(4, 4, 255));
        put("test/a/1.png", &grey(8, 8, 100));
        put("test/a/2.png", b"\x89PNG\r\n\x1a\n");
        put("test/notes.txt", b"");
        put(".hidden/a/1.png", &grey(4, 4, 7));
        put("train/.ipynb_checkpoints/1-checkpoint.png", &grey(4, 4, 7));
        let config =
            CheckConfig { path: dir.path().into(), preprocess: None, limits: Limits::default(), seed: 0 };
        let mut last = 0;
        let report = check(&config, &mut |n| {
            last = n;
            true
        })
        .unwrap();
        assert_eq!((report.images, report.train, report.test, report.ignored, last), (4, 3, 1, 3, 5));
        let left: Vec<&str> = report.left_out.iter().map(|b| b.name.as_str()).collect();
        assert_eq!(left, [".hidden/", "train/.ipynb_checkpoints/", "test/notes.txt"]);
        // The first picture in order is test/a/1.png.
        assert_eq!((report.image_size, report.channels), (Some(8), Some(1)));
        let class = |name: &str, train, test| ClassCount { name: name.into(), train, test };
        assert_eq!(report.classes, [class("a", 1, 1), class("b", 2, 0)]);
        assert_eq!(report.sizes[0], SizeCount { width: 4, height: 4, channels: 1, images: 3 });
        assert_eq!(report.bad.len(), 1);
        assert_eq!(report.bad[0].name, "test/a/2.png");

        let config = CheckConfig { preprocess: Some(Preprocess::new(4, 1).unwrap()), ..config };
        let sigma = check(&config, &mut |_| true).unwrap().sigma_max.unwrap();
        // 16 pixels, black against white.
        assert_eq!(sigma, SigmaMax { value: 4.0, sample: 4, exhaustive: true });
    }

    #[test]
    fn nothing_readable_is_a_report() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("x.png"), b"x").unwrap();
        let config =
            CheckConfig { path: dir.path().into(), preprocess: None, limits: Limits::default(), seed: 0 };
        let report = check(&config, &mut |_| true).unwrap();
        assert_eq!((report.images, report.bad.len(), report.sigma_max), (0, 1, None));
    }

    #[test]
    fn a_sample_does_not_depend_on_the_order() {
        let row = |i: u32| (0..1 << 10).map(|p| ((p * (i + 3)) >> 5) as u8).collect::<Vec<u8>>();
        let value = |order: &mut dyn Iterator<Item = u32>, seed| {
            let mut sample = Sample { seed, budget: 4e6, rows: BinaryHeap::new() };
            order.for_each(|i| sample.offer(&format!("{i}"), &row(i)));
            let mut ranks: Vec<u64> = sample.rows.iter().map(|r| r.rank).collect();
            ranks.sort_unstable();
            (ranks, sample.sigma_max(200).unwrap())
        };
        let forward = value(&mut (0..200), 1);
        assert!(!forward.1.exhaustive && forward.1.sample < 200);
        assert_eq!(forward, value(&mut (0..200).rev(), 1));
        assert_ne!(forward.0, value(&mut (0..200), 2).0);
    }

    #[test]
    fn distances() {
        let (a, b) = (vec![0u8; 40_000], vec![255u8; 40_000]);
        assert_eq!(squared_distance(&a, &b), 40_000 * 255 * 255);
        assert_eq!(squared_distance(&[3, 9], &[7, 6]), 25);
    }
}
