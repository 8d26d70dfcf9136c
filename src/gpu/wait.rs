//! Everything that waits: for an adapter, a device, an error scope, a submission, a mapped buffer.
//!
//! What waits is an async function, and [`blocking`] runs one to its end for a native program. No other file blocks a thread, polls a
//! device or catches a panic. `native.rs` and `web.rs` are the two ways to wait: in a native program callbacks of a device run only
//! while somebody polls it; in a browser the event loop runs them, and blocking its thread would mean that they never run.

#[cfg(not(target_family = "wasm"))]
mod native;
#[cfg(target_family = "wasm")]
mod web;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

#[cfg(not(target_family = "wasm"))]
use native as platform;
#[cfg(target_family = "wasm")]
use web as platform;

#[cfg(not(target_family = "wasm"))]
pub(super) use native::Waiter;
pub use platform::{Submission, blocking};
/// A clock that only goes forward: that of `std`, in a browser `performance.now()`, where that of `std` would panic.
pub use web_time::Instant;

use super::device::Gpu;
use crate::error::{Error, Result};

impl Gpu {
    /// Waits until everything submitted has run.
    ///
    /// # Errors
    /// [`Error::DeviceLost`], [`Error::OutOfMemory`], [`Error::Validation`], whichever the device reported first.
    pub async fn wait_async(&self) -> Result<()> {
        platform::everything(self).await
    }

    /// [`Gpu::wait_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Gpu::wait_async`]; [`Error::CannotBlock`] in a browser.
    pub fn wait(&self) -> Result<()> {
        blocking(self.wait_async())
    }

    /// Waits until one submission has run.
    ///
    /// # Errors
    /// As [`Gpu::wait_async`].
    pub async fn wait_for_async(&self, submission: Submission) -> Result<()> {
        platform::submission(self, submission).await
    }

    /// [`Gpu::wait_for_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Gpu::wait`].
    pub fn wait_for(&self, submission: Submission) -> Result<()> {
        blocking(self.wait_for_async(submission))
    }

    /// The bytes of a staging buffer, which `copied` fills.
    pub(super) async fn mapped(&self, staging: &wgpu::Buffer, copied: Submission) -> Result<Vec<u8>> {
        let lost = |cause: String| Error::DeviceLost { cause: format!("reading back failed: {cause}") };
        let (sender, receiver) = oneshot();
        staging.map_async(wgpu::MapMode::Read, .., move |outcome| sender.send(outcome));
        // In a native program this runs the callback.
        platform::before_mapping(self, copied).await?;
        let outcome = receiver.await;
        self.check()?;
        match outcome {
            Some(Ok(())) => {}
            Some(Err(cause)) => return Err(lost(cause.to_string())),
            None => return Err(lost("the device dropped the request".into())),
        }
        let view = staging.get_mapped_range(..).map_err(|cause| lost(cause.to_string()))?;
        let bytes = view.to_vec();
        drop(view);
        staging.unmap();
        Ok(bytes)
    }
}

/// The adapters of `backends`, in the order of the interface.
pub(super) async fn adapters(instance: &wgpu::Instance, backends: wgpu::Backends) -> Vec<wgpu::Adapter> {
    instance.enumerate_adapters(backends).await
}

/// Opens a device.
pub(super) async fn device(
    adapter: &wgpu::Adapter,
    descriptor: &wgpu::DeviceDescriptor<'_>,
) -> std::result::Result<(wgpu::Device, wgpu::Queue), wgpu::RequestDeviceError> {
    adapter.request_device(descriptor).await
}

/// What the error scopes around some calls caught, once the device has answered.
pub(super) struct Caught(Vec<platform::Popped>);

/// Makes something inside error scopes of these kinds. The scopes belong to the calling thread and are closed on return; whether they
/// caught anything is told later.
pub(super) fn scoped<T>(
    device: &wgpu::Device,
    filters: &[wgpu::ErrorFilter],
    make: impl FnOnce() -> T,
) -> (T, Caught) {
    let scopes: Vec<_> = filters.iter().map(|filter| device.push_error_scope(*filter)).collect();
    let made = make();
    // They close in the reverse order of their opening.
    let popped = scopes.into_iter().rev().map(|scope| Box::pin(scope.pop()) as platform::Popped).collect();
    (made, Caught(popped))
}

impl Caught {
    /// The first error, the innermost scope's first.
    pub(super) async fn error(self) -> Option<wgpu::Error> {
        let mut first = None;
        for popped in self.0 {
            let caught = popped.await;
            first = first.or(caught);
        }
        first
    }
}

/// One value for one receiver, from a callback to a future.
fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let slot = Arc::new(Mutex::new(Slot { state: State::Empty, waker: None }));
    (Sender(Arc::clone(&slot)), Receiver(slot))
}

struct Slot<T> {
    state: State<T>,
    waker: Option<Waker>,
}

enum State<T> {
    Empty,
    Sent(T),
    /// The value was taken, or the sender went away without one.
    Closed,
}

struct Sender<T>(Arc<Mutex<Slot<T>>>);

/// Resolves to the value; to nothing where the sender was dropped without one.
struct Receiver<T>(Arc<Mutex<Slot<T>>>);

impl<T> std::fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Receiver")
    }
}

impl<T> Sender<T> {
    fn send(self, value: T) {
        self.set(State::Sent(value));
    }

    /// Sets the state where there is none yet, and wakes the receiver outside the lock.
    fn set(&self, state: State<T>) {
        let waker = {
            let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if matches!(slot.state, State::Empty) {
                slot.state = state;
            }
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.set(State::Closed);
    }
}

impl<T> Future for Receiver<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut slot.state, State::Closed) {
            State::Sent(value) => Poll::Ready(Some(value)),
            State::Closed => Poll::Ready(None),
            State::Empty => {
                slot.state = State::Empty;
                slot.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::device::tests::gpu;

    /// Only the device's own thread polls here: the executor does not know of it.
    #[test]
    fn a_task_of_another_executor_is_woken() {
        let Some(gpu) = gpu() else { return };
        let buffer = gpu.buffer("numbers", 64).unwrap();
        gpu.write(&buffer, 0, &[7; 64]).unwrap();
        let run = pollster::block_on::<std::pin::Pin<Box<dyn Future<Output = Result<Vec<u8>>> + Send>>>;
        let range = buffer.whole();
        assert_eq!(run(Box::pin(gpu.read_async(&range))).unwrap(), [7; 64]);
        let submission = gpu.submit([]).unwrap();
        pollster::block_on(gpu.wait_for_async(submission)).unwrap();
        gpu.inner.device.destroy();
        let lost = pollster::block_on(gpu.wait_async());
        assert!(matches!(lost, Err(Error::DeviceLost { .. })), "{lost:?}");
    }

    fn poll<T>(receiver: &mut Receiver<T>) -> Poll<Option<T>> {
        Pin::new(receiver).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_value_arrives_once_and_a_dropped_sender_is_no_wait_for_ever() {
        let (sender, mut receiver) = oneshot();
        assert_eq!(poll(&mut receiver), Poll::Pending);
        sender.send(7);
        assert_eq!(poll(&mut receiver), Poll::Ready(Some(7)));
        assert_eq!(poll(&mut receiver), Poll::Ready(None));
        let (sender, mut receiver) = oneshot::<u32>();
        assert_eq!(poll(&mut receiver), Poll::Pending);
        drop(sender);
        assert_eq!(poll(&mut receiver), Poll::Ready(None));
    }
}
