//! Receiving signals.

use std::{
    fmt,
    marker::PhantomData,
    panic::Location,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use dacapo_core::Payload;
use futures_util::Stream;

use crate::{
    define::{Data, Signal},
    errors::WorkflowError,
    executor::failure::TaskFailure,
    state::RunState,
};

/// The next signal of a name, as a future, or all of them, as a stream.
///
/// Signals wait in the order of their arrival until they are received; one that loses a `select!` or is dropped has
/// taken nothing. Once the run is asked to cancel and nothing waits any more, the future ends with
/// [`WorkflowError::Cancelled`], and the stream ends.
#[must_use = "a signal is not received unless this is awaited or iterated"]
pub struct Receive<T> {
    state: Rc<RunState>,
    name: &'static str,
    at: &'static Location<'static>,
    waiter: Option<u64>,
    types: PhantomData<fn() -> T>,
}

impl<T> Receive<T> {
    pub(crate) fn new(state: &Rc<RunState>, at: &'static Location<'static>, signal: &Signal<T>) -> Self {
        state.called_at(at);
        Self { state: Rc::clone(state), name: signal.name(), at, waiter: None, types: PhantomData }
    }

    fn leave(&mut self) {
        if let Some(waiter) = self.waiter.take() {
            self.state.drop_receiver(self.name, waiter);
        }
    }
}

impl<T: Data> Receive<T> {
    fn poll_payload(&mut self, context: &mut Context<'_>) -> Poll<Option<Payload>> {
        let polled = self.state.poll_signal(self.name, self.at, &mut self.waiter, context);
        if polled.is_ready() {
            self.leave();
        }
        polled
    }

    /// Reads a signal; one that cannot be read fails the task, so that it is not lost to a wrong build.
    fn decode(&self, payload: &Payload) -> Poll<T> {
        match payload.decode(&format!("input of signal `{}`", self.name)) {
            Ok(value) => Poll::Ready(value),
            Err(error) => {
                self.state.fail(TaskFailure::payload(&error).at(self.at));
                Poll::Pending
            }
        }
    }
}

impl<T: Data> Future for Receive<T> {
    type Output = Result<T, WorkflowError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.poll_payload(context) {
            Poll::Ready(Some(payload)) => self.decode(&payload).map(Ok),
            Poll::Ready(None) => Poll::Ready(Err(WorkflowError::Cancelled)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T: Data> Stream for Receive<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        match self.poll_payload(context) {
            Poll::Ready(Some(payload)) => self.decode(&payload).map(Some),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T> Drop for Receive<T> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<T> fmt::Debug for Receive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receive(`{}` at {})", self.name, self.at)
    }
}
