//! Our own checkpoints: what is written is what is read, damage is found, the previous one is kept, one run writes.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use langevin::Error;
use langevin::checkpoint::{
    self, Checkpoint, DataPosition, EmaState, Files, OsFiles, SyncWrite, Tensor, Tensors, WorkFolder,
};

use super::{assert_same, refused};

/// A checkpoint whose every part follows from `step`.
pub fn checkpoint(step: u64) -> Checkpoint {
    let group = |salt: f32| {
        let mut tensors = Tensors::new("made");
        let values = |n: usize| (0..n).map(|i| salt + step as f32 * 0.5 + i as f32).collect::<Vec<f32>>();
        tensors.insert("all_modules.0.W", Tensor::from_f32(&[5], values(5)).unwrap()).unwrap();
        tensors.insert("all_modules.1.weight", Tensor::from_f32(&[3, 2, 2], values(12)).unwrap()).unwrap();
        tensors
    };
    let mut weights = group(0.1);
    let sigmas: Vec<u8> = (0..4u64).flat_map(|i| (i as f64 / 3.0).to_le_bytes()).collect();
    weights.insert("sigmas", Tensor::from_bytes(checkpoint::DType::F64, &[4], sigmas).unwrap()).unwrap();
    Checkpoint {
        config: "[model]\nname = \"ncsnpp\" # \"quoted\", ä\nema_rate = 0.999\n".into(),
        step,
        seed: u64::MAX - 3,
        data: DataPosition { epoch: step / 7, index: step % 7 * 128 },
        ema: Some(EmaState { decay: 0.999_900_000_000_000_1, num_updates: step }),
        kernels: [("conv2d 3x3 c128".into(), "winograd4".into()), ("gemm".into(), "tile8".into())].into(),
        extra: [("skipped_steps".into(), "2".into())].into(),
        weights,
        ema_weights: group(0.2),
        adam_m: group(0.3),
        adam_v: group(0.4),
    }
}

fn assert_equal(got: &Checkpoint, expected: &Checkpoint) {
    assert_eq!(got.config, expected.config);
    assert_eq!(
        (got.step, got.seed, got.data, got.ema),
        (expected.step, expected.seed, expected.data, expected.ema)
    );
    assert_eq!((&got.kernels, &got.extra), (&expected.kernels, &expected.extra));
    for (a, b) in [
        (&got.weights, &expected.weights),
        (&got.ema_weights, &expected.ema_weights),
        (&got.adam_m, &expected.adam_m),
        (&got.adam_v, &expected.adam_v),
    ] {
        assert_eq!(a.len(), b.len());
        b.iter().for_each(|(name, tensor)| assert_same(a.get(name).unwrap(), tensor, name));
    }
}

#[test]
fn a_checkpoint_comes_back_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.safetensors");
    let saved = checkpoint(12_345);
    saved.save(&path).unwrap();
    let loaded = Checkpoint::open(&path).unwrap();
    loaded.verify().unwrap();
    assert_equal(&loaded, &saved);
    assert_eq!(checkpoint::open(&path).unwrap().format, "langevin checkpoint");
    // Any reader of safetensors opens it.
    let bytes = fs::read(&path).unwrap();
    let foreign = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(foreign.tensor("adam_v.all_modules.1.weight").unwrap().shape(), [3, 2, 2]);
    // Nothing but the parts it was given.
    let bare = Checkpoint { ema: None, ema_weights: Tensors::default(), ..checkpoint(1) };
    bare.save(&path).unwrap();
    assert_equal(&Checkpoint::open(&path).unwrap(), &bare);
}

#[test]
fn every_flipped_bit_of_a_checkpoint_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.safetensors");
    let saved = checkpoint(3);
    saved.save(&path).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let name = "flipped.safetensors";
    let read = |bytes: &[u8]| {
        let loaded = Checkpoint::read(&checkpoint::Source::memory(name, bytes.to_vec()))?;
        loaded.verify().map(|()| loaded)
    };
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        match read(&bytes) {
            // A padding blank that became another kind of blank.
            Ok(loaded) => assert_equal(&loaded, &saved),
            Err(error) => assert!(error.to_string().contains(name), "{error}"),
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    for len in 0..bytes.len() {
        refused(read(&bytes[..len]), name);
    }
}

#[test]
fn a_newer_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.safetensors");
    checkpoint(3).save(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let at = bytes.windows(20).position(|w| w == b"\"format_version\":\"1\"").unwrap();
    let mut newer = bytes;
    newer[at + 18] = b'2';
    fs::write(&path, newer).unwrap();
    assert!(refused(Checkpoint::open(&path), "one.safetensors").contains("update it"));
}

#[test]
fn the_previous_one_is_kept_and_taken_where_the_newest_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let mut work = WorkFolder::open(folder.path()).unwrap();
    assert!(work.load().unwrap().is_none());
    for step in 1..=3 {
        work.save(&checkpoint(step)).unwrap();
        let loaded = work.load().unwrap().unwrap();
        assert!(loaded.note.is_none());
        assert_equal(&loaded.checkpoint, &checkpoint(step));
    }
    let newest = folder.path().join("checkpoint.safetensors");
    let previous = folder.path().join("checkpoint.previous.safetensors");
    assert_eq!(Checkpoint::open(&previous).unwrap().step, 2);

    // Damage the newest: the previous is loaded, with a word; the next save keeps the good one.
    let mut bytes = fs::read(&newest).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&newest, &bytes).unwrap();
    let loaded = work.load().unwrap().unwrap();
    assert_equal(&loaded.checkpoint, &checkpoint(2));
    let note = loaded.note.unwrap();
    assert!(note.contains("is damaged") && note.contains("step 2"), "{note}");
    work.save(&checkpoint(4)).unwrap();
    assert_eq!(work.load().unwrap().unwrap().checkpoint.step, 4);
    assert_eq!(Checkpoint::open(&previous).unwrap().step, 2);

    // The same where the run that saves has not loaded.
    drop(work);
    fs::write(&newest, &bytes).unwrap();
    let mut work = WorkFolder::open(folder.path()).unwrap();
    work.save(&checkpoint(5)).unwrap();
    assert_eq!(Checkpoint::open(&previous).unwrap().step, 2);

    // Both damaged: an error that names both, not a fresh start.
    fs::write(&newest, b"nothing").unwrap();
    fs::write(&previous, b"").unwrap();
    let message = work.load().unwrap_err().to_string();
    assert!(
        message.contains("checkpoint.safetensors") && message.contains("checkpoint.previous"),
        "{message}"
    );
}

#[test]
fn the_second_writer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let first = WorkFolder::open(folder.path()).unwrap();
    match WorkFolder::open(folder.path()) {
        Err(Error::Locked { holder, .. }) => assert_eq!(holder, format!("process {}", std::process::id())),
        other => panic!("{other:?}"),
    }
    // Readers need no lock.
    assert!(checkpoint::load(folder.path()).unwrap().is_none());
    drop(first);
    WorkFolder::open(folder.path()).unwrap();
}

/// A disk that holds so many bytes more.
struct SmallDisk(usize);

struct SmallFile(Box<dyn SyncWrite>, usize);

impl Write for SmallFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.1 == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        let n = self.0.write(&bytes[..bytes.len().min(self.1)])?;
        self.1 -= n;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl SyncWrite for SmallFile {
    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }
}

impl Files for SmallDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn SyncWrite>> {
        Ok(Box::new(SmallFile(OsFiles.create(path)?, self.0)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsFiles.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsFiles.link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        OsFiles.remove(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        OsFiles.sync_folder(path)
    }
}

#[test]
fn a_full_disk_leaves_the_old_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    WorkFolder::open(folder.path()).unwrap().save(&checkpoint(1)).unwrap();
    let size = fs::metadata(folder.path().join("checkpoint.safetensors")).unwrap().len();
    for room in [0, 1, 100, size as usize - 1] {
        let mut work = WorkFolder::open_with(folder.path(), Box::new(SmallDisk(room))).unwrap();
        match work.save(&checkpoint(2)) {
            Err(Error::StorageFull { needed, .. }) => assert_eq!(needed, size),
            other => panic!("with room for {room} bytes: {other:?}"),
        }
        assert_equal(&work.load().unwrap().unwrap().checkpoint, &checkpoint(1));
        // What was begun does not take the space that is missing.
        let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["checkpoint.safetensors", "lock"]);
    }
}
