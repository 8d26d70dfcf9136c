//! How far long work is, and how it is ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How far long work is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Steps done, over all images. Where a solver chooses its own steps, a thousandth of its way each.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Images done.
    pub images: usize,
    /// Images in all.
    pub of: usize,
    /// The most evaluations of the network that one image took so far.
    pub nfe: usize,
}

/// Ends work that runs elsewhere: clones belong together.
///
/// ```
/// use langevin::pipeline::Stop;
///
/// let stop = Stop::new();
/// let elsewhere = stop.clone();
/// std::thread::spawn(move || elsewhere.stop()).join().unwrap();
/// assert!(stop.is_stopped());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Work that goes on.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the work to end after the step at hand.
    pub fn stop(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it was asked to end.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl From<Arc<AtomicBool>> for Stop {
    fn from(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }
}

/// Hears of progress.
type Listener<'a> = Box<dyn FnMut(Progress) + 'a>;

/// The listener of a builder, and what ends it.
#[derive(Default)]
pub(super) struct Watch<'a> {
    listener: Option<Listener<'a>>,
    stop: Stop,
    at: Progress,
}

impl<'a> Watch<'a> {
    pub(super) fn listen(&mut self, listener: impl FnMut(Progress) + 'a) {
        self.listener = Some(Box::new(listener));
    }

    pub(super) fn until(&mut self, stop: &Stop) {
        self.stop = stop.clone();
    }

    /// Work of so many steps and images begins.
    pub(super) fn begin(&mut self, steps: usize, of: usize) {
        self.at = Progress { steps, of, ..Progress::default() };
    }

    /// So many steps are done. False where the work is to end.
    pub(super) fn step(&mut self, step: usize) -> bool {
        self.at.step = step;
        self.tell();
        !self.stop.is_stopped()
    }

    /// So many images are done.
    pub(super) fn images(&mut self, images: usize, nfe: usize) {
        self.at.images = images;
        self.at.nfe = self.at.nfe.max(nfe);
        self.tell();
    }

    fn tell(&mut self) {
        if let Some(listener) = &mut self.listener {
            listener(self.at);
        }
    }
}

impl std::fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("at", &self.at).field("stop", &self.stop).finish_non_exhaustive()
    }
}
