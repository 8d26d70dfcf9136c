//! Waiting in a browser: promises, which the event loop resolves once this thread has returned to it.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use super::{Receiver, oneshot};
use crate::error::{Error, Result};
use crate::gpu::Gpu;

/// Runs `work` as far as it comes without waiting.
///
/// # Errors
/// Those of `work`; [`Error::CannotBlock`] where it has to wait.
pub fn blocking<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => Err(Error::CannotBlock),
    }
}

/// What an error scope caught.
pub(super) type Popped = Pin<Box<dyn Future<Output = Option<wgpu::Error>>>>;

/// A submission that can be waited for.
#[derive(Debug)]
pub struct Submission(Receiver<()>);

impl Submission {
    /// The promise is made here, since one that is made later waits for later submissions as well.
    pub(in crate::gpu) fn new(queue: &wgpu::Queue, _: wgpu::SubmissionIndex) -> Self {
        let (sender, receiver) = oneshot();
        queue.on_submitted_work_done(move || sender.send(()));
        Self(receiver)
    }
}

pub(super) async fn everything(gpu: &Gpu) -> Result<()> {
    let (sender, receiver) = oneshot();
    gpu.inner.queue.on_submitted_work_done(move || sender.send(()));
    submission(gpu, Submission(receiver)).await
}

pub(super) async fn submission(gpu: &Gpu, submission: Submission) -> Result<()> {
    let done = submission.0.await;
    gpu.check()?;
    done.ok_or_else(|| Error::DeviceLost { cause: "the browser dropped the submission".into() })
}

/// The browser orders the mapping behind `copied` itself.
pub(super) async fn before_mapping(_: &Gpu, _: Submission) -> Result<()> {
    Ok(())
}
