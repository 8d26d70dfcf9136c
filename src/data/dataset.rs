//! A data set ready to be read: equal rows of pixels, labels, classes, splits.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::cache::{Cache, CacheWriter, Entry, Meta, arrange};
use super::container::list_files;
use super::decode::Limits;
use super::ingest::{BadImage, Preparation, Progress, ingest};
use super::layout::Split;
use super::preprocess::Preprocess;
use crate::formats::crc::crc32c;
use crate::limits::{PIXELS_IN_MEMORY, shown};
use crate::random::draws;
use crate::{Error, Result, files};

/// What an [`Error::Invalid`] calls the folder of [`DataConfig::cache_folder`].
pub const CACHE_FOLDER: &str = "the cache folder";

/// Which pictures, and how they are made alike.
#[derive(Clone, Debug)]
pub struct DataConfig {
    /// A folder, an archive or a file; see [`crate::data`].
    pub path: PathBuf,
    /// Size, channels, recipe.
    pub preprocess: Preprocess,
    /// What a picture may cost.
    pub limits: Limits,
    /// Where the packed form of the data set is kept, for this run and later ones; `None` keeps the pixels in memory, at most
    /// [`PIXELS_IN_MEMORY`] bytes.
    pub cache_folder: Option<PathBuf>,
    /// Pack again, whatever the cache holds: for edits that change neither size nor time of a file.
    pub repack: bool,
}

impl DataConfig {
    /// `path` with the default limits, in memory.
    pub fn new(path: impl Into<PathBuf>, preprocess: Preprocess) -> Self {
        Self { path: path.into(), preprocess, limits: Limits::default(), cache_folder: None, repack: false }
    }
}

/// Pixels of equal images, u8, `n h w c`, on disk or in memory.
#[derive(Debug)]
pub struct Dataset {
    preprocess: Preprocess,
    entries: Vec<Entry>,
    meta: Meta,
    store: Store,
}

#[derive(Debug)]
enum Store {
    Packed(Box<Cache>),
    Memory(Vec<u8>),
}

impl Dataset {
    /// Pictures of any size, cropped to squares of `image_size` pixels and `channels` (1 or 3), read to memory: no more than
    /// [`PIXELS_IN_MEMORY`] bytes of pixels. [`Dataset::open`] packs larger sets in a folder.
    ///
    /// # Errors
    /// As [`Dataset::open`]; [`Error::Invalid`] for sizes and channels that no picture has.
    pub fn pictures(path: impl Into<PathBuf>, image_size: u32, channels: u32) -> Result<Arc<Self>> {
        Self::open(&DataConfig::new(path, Preprocess::new(image_size, channels)?), &mut |_| true)
    }

    /// Opens the packed form of a source, or packs it first. `progress` hears the number of pictures packed so far and
    /// may end the packing by returning false; it is not called where the cache fits.
    ///
    /// Without a cache folder the images are read to memory.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Format`] where the source is damaged or holds no readable picture, [`Error::Invalid`]
    /// where the cache folder cannot be written or is needed, [`Error::Stopped`] when `progress` ended it: no file is left then.
    pub fn open(config: &DataConfig, progress: &mut dyn FnMut(u64) -> bool) -> Result<Arc<Self>> {
        let prep = config.preprocess;
        let Some(folder) = &config.cache_folder else {
            return Self::read_to_memory(config, progress).map(Arc::new);
        };
        let path = folder.join(cache_name(&config.path, &prep)?);
        let fingerprint = fingerprint(config)?;
        let kept = if config.repack { None } else { Cache::open(&path, fingerprint, &prep) };
        let cache = match kept {
            Some(cache) => cache,
            None => {
                Self::pack(config, &path, fingerprint, progress)?;
                Cache::open(&path, fingerprint, &prep).ok_or_else(|| {
                    Error::format(&path, "the data set just packed does not read back; is the disk sound?")
                })?
            }
        };
        let (entries, meta) = (cache.entries.clone(), cache.meta.clone());
        Ok(Arc::new(Self { preprocess: prep, entries, meta, store: Store::Packed(Box::new(cache)) }))
    }

    fn pack(config: &DataConfig, path: &Path, fingerprint: u64, progress: Progress<'_>) -> Result<()> {
        let mut writer = CacheWriter::create(path).map_err(|e| match e {
            Error::Io { path, source } => Error::invalid(
                CACHE_FOLDER,
                path.display(),
                format!("cannot be written ({source}); name one that can"),
            ),
            other => other,
        })?;
        let prep = Preparation::Known(config.preprocess);
        let found =
            ingest(&config.path, prep, &config.limits, None, &mut |_, row, _| writer.push(row), progress)?;
        refuse_empty(&config.path, found.names.len(), &found.bad)?;
        writer.finish(found, fingerprint, &config.preprocess)
    }

    /// Reads a source without a cache: no more than [`PIXELS_IN_MEMORY`] bytes of pixels.
    ///
    /// # Errors
    /// As [`Dataset::open`].
    pub fn read_to_memory(config: &DataConfig, progress: &mut dyn FnMut(u64) -> bool) -> Result<Self> {
        Self::read_within(config, PIXELS_IN_MEMORY, progress)
    }

    pub(super) fn read_within(config: &DataConfig, most: u64, progress: Progress<'_>) -> Result<Self> {
        let (mut pixels, mut crcs) = (Vec::new(), Vec::new());
        let mut sink = |_: &str, row: &[u8], _: &Preprocess| {
            if (pixels.len() + row.len()) as u64 > most {
                let problem = format!(
                    "{} has more than {most} bytes of pixels at this size, which are not kept in memory; name a \
                     folder in which they are packed",
                    config.path.display()
                );
                return Err(Error::invalid(CACHE_FOLDER, "none", problem));
            }
            pixels.extend_from_slice(row);
            crcs.push(crc32c(row));
            Ok(())
        };
        let found = ingest(
            &config.path,
            Preparation::Known(config.preprocess),
            &config.limits,
            None,
            &mut sink,
            progress,
        )?;
        refuse_empty(&config.path, found.names.len(), &found.bad)?;
        let (entries, meta) = arrange(found, &crcs);
        Ok(Self { preprocess: config.preprocess, entries, meta, store: Store::Memory(pixels) })
    }

    /// A data set from pixels at hand, `n h w c` with `h` = `w` = `image_size`, all of it for training. `labels` is
    /// empty or has one number per image, below `classes.len()`.
    ///
    /// # Errors
    /// [`Error::Shape`] where the numbers do not agree.
    pub fn from_pixels(
        pixels: Vec<u8>,
        preprocess: Preprocess,
        labels: &[i32],
        classes: &[&str],
    ) -> Result<Self> {
        let bytes = preprocess.bytes();
        let n = pixels.len() / bytes;
        let labelled = labels.is_empty() || labels.len() == n;
        let known = labels.iter().all(|&l| usize::try_from(l).is_ok_and(|l| l < classes.len()));
        if n * bytes != pixels.len() || n == 0 || !labelled || !known {
            let problem = format!(
                "{} bytes of pixels and {} labels of {} classes for images of {bytes} bytes",
                pixels.len(),
                labels.len(),
                classes.len()
            );
            return Err(Error::shape(
                "data set",
                problem,
                "give whole images and a known label for each or for none",
            ));
        }
        let entry = |i: usize| {
            let label = labels.get(i).copied().unwrap_or(-1);
            Entry {
                row: i as u64,
                label,
                split: Split::Train,
                crc: crc32c(&pixels[i * bytes..(i + 1) * bytes]),
            }
        };
        let entries = (0..n).map(entry).collect();
        let side = preprocess.image_size;
        let meta = Meta {
            classes: classes.iter().map(|c| c.to_string()).collect(),
            sizes: vec![(side, side, preprocess.channels, n as u64)],
            ..Meta::default()
        };
        Ok(Self { preprocess, entries, meta, store: Store::Memory(pixels) })
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Never: a source without readable pictures is an error.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Size, channels, recipe.
    pub fn preprocess(&self) -> Preprocess {
        self.preprocess
    }

    /// The classes in the order of their labels; empty where the source has none.
    pub fn classes(&self) -> &[String] {
        &self.meta.classes
    }

    /// Whether the source names a split (`train`, `test`).
    pub fn has_splits(&self) -> bool {
        self.meta.has_splits
    }

    /// The pictures that were skipped when the source was packed, with reasons.
    pub fn bad(&self) -> &[BadImage] {
        &self.meta.bad
    }

    /// What the user should know of the source: pictures that lost most of their area or are enlarged, files that were left out.
    pub fn notes(&self) -> Vec<String> {
        let sizes = self.meta.sizes.iter().map(|&(w, h, _, n)| (w, h, n));
        let mut notes = self.preprocess.surprises(sizes);
        notes.extend(self.meta.left_out.in_words());
        notes
    }

    /// Files and folders of the source that are no part of the data set, and the first of them with reasons.
    pub fn left_out(&self) -> (u64, &[BadImage]) {
        (self.meta.left_out.total, &self.meta.left_out.first)
    }

    /// The label of image `index`, or -1.
    pub fn label(&self, index: usize) -> i32 {
        self.entries[index].label
    }

    /// Reads image `index` into `row`, which has `h w c` bytes.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Format`] where the packed file is damaged.
    pub fn read(&self, index: usize, row: &mut [u8]) -> Result<()> {
        let bytes = self.preprocess.bytes();
        if row.len() != bytes || index >= self.len() {
            let problem = format!("image {index} of {} into {} bytes", self.len(), row.len());
            return Err(Error::shape("data set", problem, format!("give a number below and {bytes} bytes")));
        }
        match &self.store {
            Store::Packed(cache) => cache.read(index, row),
            Store::Memory(pixels) => {
                let at = self.entries[index].row as usize * bytes;
                row.copy_from_slice(&pixels[at..at + bytes]);
                Ok(())
            }
        }
    }

    /// The images of one split. Without splits in the source, everything is [`Split::Train`].
    ///
    /// # Errors
    /// [`Error::Invalid`] where the split has no image.
    pub fn subset(self: &Arc<Self>, split: Split) -> Result<Subset> {
        let wanted = |i: &u32| split == Split::All || self.entries[*i as usize].split == split;
        let images: Vec<u32> = (0..self.len() as u32).filter(wanted).collect();
        if images.is_empty() {
            let problem = "the data set has no such images; class folders below train/ and test/ make splits";
            return Err(Error::invalid("split", split, problem));
        }
        Ok(Subset { data: Arc::clone(self), images })
    }
}

fn refuse_empty(path: &Path, good: usize, bad: &[BadImage]) -> Result<()> {
    if good > u32::MAX as usize {
        return Err(Error::format(path, format!("{good} pictures; up to {} can be read", u32::MAX)));
    }
    if good > 0 {
        return Ok(());
    }
    let first = bad.first().map_or(String::new(), |b| {
        format!("; of {}, the first: {}: {}", bad.len(), shown(&b.name), b.reason)
    });
    Err(Error::format(path, format!("no readable picture{first}")))
}

/// Some images of a data set, in a fixed order.
#[derive(Clone, Debug)]
pub struct Subset {
    data: Arc<Dataset>,
    images: Vec<u32>,
}

impl Subset {
    /// The number of images.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there are none (only after [`Subset::take`] with 0).
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// The whole set.
    pub fn dataset(&self) -> &Arc<Dataset> {
        &self.data
    }

    /// The number in the whole set of image `index` of this one.
    pub fn number(&self, index: usize) -> usize {
        self.images[index] as usize
    }

    /// Keeps at most `n` images, chosen at random by `seed`, in their order.
    pub fn take(mut self, n: usize, seed: u64) -> Self {
        let mut chosen = draws::permutation(self.len(), seed, u64::MAX);
        chosen.truncate(n);
        chosen.sort_unstable();
        self.images = chosen.into_iter().map(|i| self.images[i as usize]).collect();
        self
    }
}

/// 64-bit FNV-1a: short, stable, and the caches of one user need no more.
pub(crate) fn fnv(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for part in parts {
        // The length too, so that ("ab", "c") and ("a", "bc") differ.
        for &b in (part.len() as u64).to_le_bytes().iter().chain(*part) {
            hash = (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

/// One cache per source and recipe, so that a changed source replaces its own.
fn cache_name(path: &Path, prep: &Preprocess) -> Result<String> {
    let real = path.canonicalize().map_err(Error::io(path))?;
    let stem = real.file_name().unwrap_or_default().to_string_lossy();
    let stem: String =
        stem.chars().take_while(|c| *c != '.').filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let key = fnv(&[real.as_os_str().as_encoded_bytes(), format!("{prep:?}").as_bytes()]);
    Ok(format!("{stem}-{0}x{0}x{1}-{key:016x}.data", prep.image_size, prep.channels))
}

/// Files whose contents are looked at, and the bytes of each at its beginning and end.
const SAMPLED: usize = 64;
const SAMPLE_BYTES: u64 = 64 << 10;

/// Changes when a file of the source, the recipe or a limit does. Names, lengths and times stand for the contents, and of some files, evenly
/// among all, the contents too: an edit that keeps length and time is noticed in a small set, and mostly where all pictures were edited.
fn fingerprint(config: &DataConfig) -> Result<u64> {
    let mut text = format!("{:?} {:?}", config.preprocess, config.limits);
    let mut add = |name: &str, path: &Path, sampled: bool| -> Result<()> {
        // A link that leads nowhere has no metadata, and will be reported as a bad image.
        let Ok(meta) = std::fs::metadata(path) else { return Ok(()) };
        let modified =
            meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        let contents = if sampled { sample(path) } else { 0 };
        text.push_str(&format!("\n{name} {} {} {contents:x}", meta.len(), modified.as_nanos()));
        Ok(())
    };
    if config.path.is_dir() {
        let (files, _) = list_files(&config.path)?;
        let every = files.len().div_ceil(SAMPLED).max(1);
        for (i, (name, path)) in files.iter().enumerate() {
            add(name, path, i.is_multiple_of(every))?;
        }
    } else {
        add("", &config.path, true)?;
    }
    Ok(fnv(&[text.as_bytes()]))
}

/// A hash of the two ends of a file; 0 where it cannot be read.
fn sample(path: &Path) -> u64 {
    let Ok((mut file, length)) = files::open(path) else { return 0 };
    let mut parts = [Vec::new(), Vec::new()];
    let starts = [0, length.saturating_sub(SAMPLE_BYTES)];
    for (part, start) in parts.iter_mut().zip(starts) {
        let read =
            file.seek(SeekFrom::Start(start)).and_then(|_| (&mut file).take(SAMPLE_BYTES).read_to_end(part));
        if read.is_err() {
            return 0;
        }
    }
    fnv(&[&parts[0], &parts[1]])
}
