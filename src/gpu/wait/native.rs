//! Waiting in a native program. A device runs its callbacks while some thread polls it: inside [`blocking`] the calling thread does,
//! since it has nothing else to do; under any other executor a thread of the device does, and wakes the task.

use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;

use crate::error::{Error, Result};
use crate::gpu::Gpu;

thread_local! {
    /// Whether this thread is inside [`blocking`], so that a future may block it.
    static BLOCKING: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` to its end on this thread.
///
/// # Errors
/// Those of `work`; in a browser [`Error::CannotBlock`] where `work` has to wait.
pub fn blocking<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    /// Restores the mark also where `work` panics.
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            BLOCKING.set(self.0);
        }
    }
    let _restore = Restore(BLOCKING.replace(true));
    pollster::block_on(work)
}

/// What an error scope caught.
pub(super) type Popped = Pin<Box<dyn Future<Output = Option<wgpu::Error>> + Send>>;

/// A submission that can be waited for.
#[derive(Debug)]
pub struct Submission(wgpu::SubmissionIndex);

impl Submission {
    pub(in crate::gpu) fn new(_: &wgpu::Queue, index: wgpu::SubmissionIndex) -> Self {
        Self(index)
    }
}

pub(super) async fn everything(gpu: &Gpu) -> Result<()> {
    reach(gpu, wgpu::PollType::wait_indefinitely()).await
}

pub(super) async fn submission(gpu: &Gpu, submission: Submission) -> Result<()> {
    reach(gpu, wgpu::PollType::Wait { submission_index: Some(submission.0), timeout: None }).await
}

/// Mapping is done by the poll that sees `copied` done.
pub(super) async fn before_mapping(gpu: &Gpu, copied: Submission) -> Result<()> {
    submission(gpu, copied).await
}

async fn reach(gpu: &Gpu, until: wgpu::PollType) -> Result<()> {
    let reached = match BLOCKING.get() {
        true => poll(&gpu.inner.device, until),
        false => gpu.inner.waiter.reach(&gpu.inner.device, until).await,
    };
    // The first cause, which the device's handlers keep, says more than its consequence.
    gpu.check()?;
    reached.map_err(|cause| Error::DeviceLost { cause })
}

/// Blocks until the device is there. wgpu panics here on device errors other than a timeout.
fn poll(device: &wgpu::Device, until: wgpu::PollType) -> std::result::Result<(), String> {
    match catch_unwind(AssertUnwindSafe(|| device.poll(until))) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(cause)) => Err(cause.to_string()),
        Err(_) => Err("the driver reported an error while waiting".into()),
    }
}

#[cfg(feature = "threads")]
pub(in crate::gpu) use with_threads::Waiter;
#[cfg(not(feature = "threads"))]
pub(in crate::gpu) use without_threads::Waiter;

#[cfg(feature = "threads")]
mod with_threads {
    use std::sync::mpsc;
    use std::sync::{Mutex, PoisonError};

    use super::super::{Sender, oneshot};

    type Outcome = std::result::Result<(), String>;

    struct Request {
        device: wgpu::Device,
        until: wgpu::PollType,
        reply: Sender<Outcome>,
    }

    /// The thread that polls for tasks which must not block theirs. It starts with the first request, and ends with the device.
    /// Requests are served in order: whoever waits for an earlier submission than the request before hears of it later.
    #[derive(Default)]
    pub(in crate::gpu) struct Waiter(Mutex<Option<mpsc::Sender<Request>>>);

    impl Waiter {
        pub(super) async fn reach(&self, device: &wgpu::Device, until: wgpu::PollType) -> Outcome {
            let (reply, answer) = oneshot();
            self.request(Request { device: device.clone(), until, reply })?;
            answer.await.unwrap_or_else(|| Err("the thread that waits for the device has ended".into()))
        }

        fn request(&self, request: Request) -> Outcome {
            let mut thread = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if thread.is_none() {
                let (requests, queue) = mpsc::channel::<Request>();
                std::thread::Builder::new()
                    .name("langevin wait".into())
                    .spawn(move || {
                        for Request { device, until, reply } in queue {
                            let outcome = super::poll(&device, until);
                            // Before the reply, after which the task may be the last owner of the device.
                            drop(device);
                            reply.send(outcome);
                        }
                    })
                    .map_err(|cause| format!("no thread could be started to wait for it: {cause}"))?;
                *thread = Some(requests);
            }
            let ended = || "the thread that waits for the device has ended".to_owned();
            thread.as_ref().and_then(|requests| requests.send(request).ok()).ok_or_else(ended)
        }
    }
}

#[cfg(not(feature = "threads"))]
mod without_threads {
    /// Nobody but the calling thread can poll the device, so that it blocks under any executor.
    #[derive(Default)]
    pub(in crate::gpu) struct Waiter {}

    impl Waiter {
        pub(super) async fn reach(
            &self,
            device: &wgpu::Device,
            until: wgpu::PollType,
        ) -> std::result::Result<(), String> {
            super::poll(device, until)
        }
    }
}
