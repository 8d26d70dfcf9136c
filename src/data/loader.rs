//! Batches in a random order that can be resumed exactly, prepared ahead by a thread of their own.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::dataset::Subset;
use super::transform::{center, dequantize, flip_horizontal, to_unit};
use crate::random::draws::{self, Purpose};
use crate::{Error, Result};

/// What happens where an epoch's images do not fill a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LastBatch {
    /// The next epoch fills it: every batch is full and every image is seen equally often. For training.
    Join,
    /// A smaller batch. For evaluation.
    Keep,
    /// The rest of the epoch is left out.
    Drop,
}

/// The numbers a batch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Values {
    /// Bytes.
    U8,
    /// f32 in [0, 1], or in [-1, 1] if `centered`, with uniform dequantisation on request.
    F32 {
        /// The authors' `data.uniform_dequantization`.
        dequantize: bool,
        /// The authors' `data.centered`.
        centered: bool,
    },
}

/// How batches are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoaderConfig {
    /// Images in a batch.
    pub batch: usize,
    /// Of order, flips and dequantisation.
    pub seed: u64,
    /// A new order every epoch, or the set's own.
    pub shuffle: bool,
    /// The authors' `data.random_flip`: left to right, half of the time.
    pub flip: bool,
    /// The numbers.
    pub values: Values,
    /// The rest of an epoch.
    pub last: LastBatch,
    /// Stop after this many epochs, counted from epoch 0; none goes on for ever.
    pub epochs: Option<u64>,
    /// Batches prepared ahead.
    pub prefetch: usize,
}

impl LoaderConfig {
    /// For training: shuffled, endless, full batches, four ahead, bytes, no flips.
    pub fn training(batch: usize, seed: u64) -> Self {
        let (last, epochs) = (LastBatch::Join, None);
        Self { batch, seed, shuffle: true, flip: false, values: Values::U8, last, epochs, prefetch: 4 }
    }

    /// For evaluation: the set once, in its order, with a smaller last batch.
    pub fn evaluation(batch: usize) -> Self {
        let (last, epochs) = (LastBatch::Keep, Some(1));
        Self { batch, seed: 0, shuffle: false, flip: false, values: Values::U8, last, epochs, prefetch: 2 }
    }
}

/// The place in the data: a checkpoint keeps it, and a loader that begins there goes on with the very next image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoaderState {
    /// Epochs finished.
    pub epoch: u64,
    /// Images of this epoch already handed out.
    pub position: u64,
}

/// Pixels of a batch, `n h w c`.
#[derive(Clone, Debug, PartialEq)]
pub enum Pixels {
    /// In [0, 255].
    U8(Vec<u8>),
    /// In [0, 1] or [-1, 1].
    F32(Vec<f32>),
}

/// One batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `[n, h, w, c]`; `n` may be smaller in a last batch.
    pub shape: [usize; 4],
    /// The images.
    pub pixels: Pixels,
    /// The classes' numbers, or -1.
    pub labels: Vec<i32>,
    /// The images' numbers in the whole data set.
    pub numbers: Vec<usize>,
    /// The place behind this batch: what a checkpoint keeps once the batch is used.
    pub next: LoaderState,
}

impl Batch {
    /// The bytes, if [`Values::U8`] was asked for.
    pub fn as_u8(&self) -> Option<&[u8]> {
        match &self.pixels {
            Pixels::U8(v) => Some(v),
            Pixels::F32(_) => None,
        }
    }

    /// The numbers, if [`Values::F32`] was asked for.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.pixels {
            Pixels::F32(v) => Some(v),
            Pixels::U8(_) => None,
        }
    }
}

/// Hands out batches.
pub struct Loader {
    // Dropped before the thread is joined, so that the thread's next send fails and it ends.
    receive: Option<Receiver<Result<Batch>>>,
    thread: Option<JoinHandle<()>>,
    state: LoaderState,
    wait: Duration,
    last_wait: Duration,
    handed_out: u64,
}

impl Loader {
    /// Begins at `state` ([`LoaderState::default`] is the beginning).
    ///
    /// # Errors
    /// [`Error::Invalid`] where the batch is 0, or has more images than the set and the rest is to be dropped.
    pub fn new(images: Subset, config: LoaderConfig, state: LoaderState) -> Result<Self> {
        let n = images.len();
        if config.batch == 0 || n == 0 {
            return Err(Error::invalid("batch", config.batch, format!("at least 1, of {n} images")));
        }
        if config.last == LastBatch::Drop && config.batch > n {
            let problem = format!("the data set has only {n} images; use a smaller batch or let epochs join");
            return Err(Error::invalid("batch", config.batch, problem));
        }
        let (send, receive) = sync_channel(config.prefetch.max(1));
        let worker = Worker { images, config, state, order: None };
        let thread = std::thread::Builder::new()
            .name("data".into())
            .spawn(move || worker.run(&send))
            .map_err(Error::io("the loader's thread"))?;
        let (wait, last_wait) = (Duration::ZERO, Duration::ZERO);
        Ok(Self { receive: Some(receive), thread: Some(thread), state, wait, last_wait, handed_out: 0 })
    }

    /// The next batch, or none after the last epoch. Waits for it if need be.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Format`] of the packed data set.
    pub fn next_batch(&mut self) -> Result<Option<Batch>> {
        let begun = Instant::now();
        let received = self.receive.as_ref().and_then(|r| r.recv().ok());
        self.last_wait = begun.elapsed();
        self.wait += self.last_wait;
        let batch = received.transpose()?;
        if let Some(b) = &batch {
            self.state = b.next;
            self.handed_out += 1;
        }
        Ok(batch)
    }

    /// The place behind the batches handed out.
    pub fn state(&self) -> LoaderState {
        self.state
    }

    /// How long all calls of [`Loader::next_batch`] waited in sum; near zero where loading keeps up.
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// How long the last call waited.
    pub fn last_wait(&self) -> Duration {
        self.last_wait
    }

    /// How many batches were handed out.
    pub fn handed_out(&self) -> u64 {
        self.handed_out
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.receive = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was printed when it happened.
            let _ = thread.join();
        }
    }
}

struct Worker {
    images: Subset,
    config: LoaderConfig,
    state: LoaderState,
    /// The order of one epoch.
    order: Option<(u64, Vec<u32>)>,
}

impl Worker {
    fn run(mut self, send: &SyncSender<Result<Batch>>) {
        loop {
            let Some(batch) = self.next().transpose() else { return };
            let failed = batch.is_err();
            // A send fails where the other end is gone: nobody wants more.
            if send.send(batch).is_err() || failed {
                return;
            }
        }
    }

    /// Moves the state over the end of an epoch; false where that was the last.
    fn at_an_image(&mut self, wanted: usize) -> bool {
        let n = self.images.len() as u64;
        let too_few =
            self.config.last == LastBatch::Drop && n.saturating_sub(self.state.position) < wanted as u64;
        if self.state.position >= n || too_few {
            self.state = LoaderState { epoch: self.state.epoch + 1, position: 0 };
        }
        self.config.epochs.is_none_or(|epochs| self.state.epoch < epochs)
    }

    fn next(&mut self) -> Result<Option<Batch>> {
        let prep = self.images.dataset().preprocess();
        let (side, channels) = (prep.image_size as usize, prep.channels as usize);
        let bytes = prep.bytes();
        let mut batch = Vec::with_capacity(self.config.batch);
        if !self.at_an_image(self.config.batch) {
            return Ok(None);
        }
        while batch.len() < self.config.batch {
            let n = self.images.len() as u64;
            if self.state.position >= n && self.config.last == LastBatch::Keep {
                break;
            }
            if !self.at_an_image(1) {
                break;
            }
            let index = self.index_at(self.state);
            batch.push((self.images.number(index), self.state.epoch));
            self.state.position += 1;
        }
        let n = batch.len();
        let mut pixels = vec![0u8; n * bytes];
        for (&(number, epoch), row) in batch.iter().zip(pixels.chunks_exact_mut(bytes)) {
            self.images.dataset().read(number, row)?;
            let [coin, ..] = draws::draw(self.config.seed, Purpose::Flip, number as u64, epoch, 0);
            if self.config.flip && coin & 1 == 1 {
                flip_horizontal(row, side, channels);
            }
        }
        let labels = batch.iter().map(|&(number, _)| self.images.dataset().label(number)).collect();
        Ok(Some(Batch {
            shape: [n, side, side, channels],
            pixels: self.values(&batch, pixels, bytes),
            labels,
            numbers: batch.iter().map(|&(number, _)| number).collect(),
            next: self.state,
        }))
    }

    fn values(&self, batch: &[(usize, u64)], pixels: Vec<u8>, bytes: usize) -> Pixels {
        let Values::F32 { dequantize: noisy, centered } = self.config.values else {
            return Pixels::U8(pixels);
        };
        let mut values = Vec::with_capacity(pixels.len());
        for (&(number, epoch), row) in batch.iter().zip(pixels.chunks_exact(bytes)) {
            if noisy {
                values.extend(dequantize(row, self.config.seed, number as u64, epoch));
            } else {
                values.extend(to_unit(row));
            }
        }
        if centered {
            center(&mut values);
        }
        Pixels::F32(values)
    }

    /// Which image of the subset stands at a place.
    fn index_at(&mut self, at: LoaderState) -> usize {
        let place = at.position as usize;
        if !self.config.shuffle {
            return place;
        }
        if self.order.as_ref().is_none_or(|(epoch, _)| *epoch != at.epoch) {
            self.order = Some((at.epoch, draws::permutation(self.images.len(), self.config.seed, at.epoch)));
        }
        self.order.as_ref().map_or(place, |(_, order)| order[place] as usize)
    }
}

#[cfg(test)]
mod tests;
