//! A run that is stopped after each write, sync and rename, by a kill or by a loss of power: the folder loads, and
//! what it loads is at least the last checkpoint that was reported as saved.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use langevin::checkpoint::{self, Files, OsFiles, SyncWrite, WorkFolder};

use super::resume::checkpoint;

/// What the machine still has to do, and what a loss of power would undo.
#[derive(Default)]
struct State {
    /// Requests until the stop.
    left: usize,
    stopped: bool,
    /// Files with bytes that are not synced: how many are.
    unsynced: Vec<(PathBuf, u64)>,
    /// Renames since the last sync of the folder, with what the target was before.
    renames: Vec<(PathBuf, PathBuf, Option<Vec<u8>>)>,
}

impl State {
    /// Counts a request; after the last one nothing is done any more.
    fn request(&mut self) -> io::Result<()> {
        if self.left == 0 {
            self.stopped = true;
            return Err(io::Error::other("stopped"));
        }
        self.left -= 1;
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Stopping(Arc<Mutex<State>>);

struct StoppingFile {
    inner: Box<dyn SyncWrite>,
    path: PathBuf,
    state: Stopping,
}

impl Write for StoppingFile {
    /// Small pieces, so that there are many places to stop at.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.state.0.lock().unwrap().request()?;
        let n = bytes.len().min(300);
        self.inner.write_all(&bytes[..n])?;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl SyncWrite for StoppingFile {
    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.state.0.lock().unwrap();
        state.request()?;
        state.unsynced.retain(|(path, _)| *path != self.path);
        self.inner.sync()
    }
}

impl Files for Stopping {
    fn create(&self, path: &Path) -> io::Result<Box<dyn SyncWrite>> {
        let mut state = self.0.lock().unwrap();
        state.request()?;
        state.unsynced.push((path.into(), 0));
        Ok(Box::new(StoppingFile { inner: OsFiles.create(path)?, path: path.into(), state: self.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.request()?;
        state.renames.push((from.into(), to.into(), fs::read(to).ok()));
        for (path, _) in state.unsynced.iter_mut().filter(|(path, _)| path == from) {
            *path = to.into();
        }
        OsFiles.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.lock().unwrap().request()?;
        OsFiles.link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.lock().unwrap().request()?;
        OsFiles.remove(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.request()?;
        state.renames.clear();
        OsFiles.sync_folder(path)
    }
}

impl Stopping {
    fn after(requests: usize) -> Self {
        let files = Self::default();
        files.0.lock().unwrap().left = requests;
        files
    }

    /// What a loss of power does: bytes that were not synced are gone, and so are the last `undone` renames.
    fn lose_power(&self, undone: usize) {
        let mut state = self.0.lock().unwrap();
        for _ in 0..undone {
            let Some((from, to, before)) = state.renames.pop() else { break };
            fs::rename(&to, &from).unwrap();
            if let Some(bytes) = before {
                fs::write(&to, bytes).unwrap();
            }
            for (path, _) in state.unsynced.iter_mut().filter(|(path, _)| *path == to) {
                *path = from.clone();
            }
        }
        for (path, synced) in &state.unsynced {
            if path.exists() {
                fs::File::options().write(true).open(path).unwrap().set_len(*synced).unwrap();
            }
        }
    }
}

/// Stops a run that saves steps 3, 4 and 5 over a folder that has 1 and 2. Gives whether it was stopped at all.
fn stop_after(requests: usize, power: Option<usize>) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let mut work = WorkFolder::open(folder.path()).unwrap();
    let mut reported = 2;
    (1..=reported).for_each(|step| work.save(&checkpoint(step)).unwrap());
    drop(work);

    let files = Stopping::after(requests);
    let mut work = WorkFolder::open_with(folder.path(), Box::new(files.clone())).unwrap();
    work.load().unwrap();
    for step in 3..=5 {
        match work.save(&checkpoint(step)) {
            Ok(()) => reported = step,
            Err(_) => break,
        }
    }
    drop(work);
    let stopped = files.0.lock().unwrap().stopped;
    if let Some(undone) = power {
        files.lose_power(undone);
    }

    let context = || format!("stopped after {requests} requests, power {power:?}, reported {reported}");
    let loaded = checkpoint::load(folder.path()).unwrap_or_else(|error| panic!("{}: {error}", context()));
    let loaded = loaded.unwrap_or_else(|| panic!("{}: nothing to load", context()));
    let step = loaded.checkpoint.step;
    assert!((reported..=5).contains(&step), "{}: loaded {step}", context());
    assert_eq!(loaded.checkpoint.weights.checksum().unwrap(), checkpoint(step).weights.checksum().unwrap());

    // The run goes on.
    let mut work = WorkFolder::open(folder.path()).unwrap();
    work.load().unwrap();
    work.save(&checkpoint(6)).unwrap();
    assert_eq!(work.load().unwrap().unwrap().checkpoint.step, 6, "{}", context());
    stopped
}

#[test]
fn every_stop_leaves_a_folder_that_loads() {
    for power in [None, Some(0), Some(1), Some(2), Some(9)] {
        let mut stops = 0;
        while stop_after(stops, power) {
            stops += 1;
        }
        // Three saves of some kilobytes in pieces of 300 bytes, and their syncs and renames.
        assert!(stops > 30, "{stops} stops");
    }
}

#[test]
fn the_first_save_of_all_may_be_stopped_too() {
    for requests in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let files = Stopping::after(requests);
        let mut work = WorkFolder::open_with(folder.path(), Box::new(files.clone())).unwrap();
        let saved = work.save(&checkpoint(1)).is_ok();
        drop(work);
        files.lose_power(0);
        let loaded = checkpoint::load(folder.path()).unwrap();
        assert!(loaded.is_some() || !saved, "stopped after {requests} requests");
        if saved {
            break;
        }
    }
}
