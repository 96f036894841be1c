//! Activities that run in the process that runs the workflow's code.

use std::{
    fmt,
    marker::PhantomData,
    panic::Location,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use dacapo_core::{ActivityOptions, ActivityType, Payload, RetryPolicy, payload::PayloadError};

use super::{Handle, millis, stored};
use crate::{
    define::{Data, HasTimeout, Meta, TimeoutSet, TimeoutState},
    errors::ActivityFailure,
    state::{Request, RunState},
};

/// A call of an activity that the workflow's own process runs, without a task queue and with one event, at its end.
///
/// For short work: it is repeated from its first attempt when the process dies before that event is written, and a
/// cancelled one leaves no trace.
#[must_use = "an activity is not called unless the call is awaited"]
pub struct LocalActivityCall<O, T> {
    handle: Handle,
    name: &'static str,
    types: PhantomData<fn() -> (O, T)>,
}

impl<O, T> LocalActivityCall<O, T> {
    pub(crate) fn new(
        state: &Rc<RunState>,
        at: &'static Location<'static>,
        meta: Meta,
        input: Result<Payload, PayloadError>,
    ) -> Self {
        let request = Request::Local {
            activity_type: ActivityType::new(meta.name),
            input: stored(state, at, input),
            options: Box::new(meta.options()),
        };
        Self { handle: Handle::new(state, at, request), name: meta.name, types: PhantomData }
    }

    /// Sets the longest time of one attempt.
    pub fn start_to_close(self, timeout: Duration) -> LocalActivityCall<O, HasTimeout> {
        self.set(|options| options.start_to_close_ms = Some(millis(timeout))).with_timeout()
    }

    /// Sets the longest time of all attempts together, with the waits between them.
    pub fn schedule_to_close(self, timeout: Duration) -> LocalActivityCall<O, HasTimeout> {
        self.set(|options| options.schedule_to_close_ms = Some(millis(timeout))).with_timeout()
    }

    /// Sets how often and how soon a failed attempt is repeated.
    pub fn retry(self, policy: RetryPolicy) -> Self {
        self.set(|options| options.retry_policy = policy)
    }

    fn set(mut self, set: impl FnOnce(&mut ActivityOptions)) -> Self {
        if let Some(Request::Local { options, .. }) = &mut self.handle.request {
            set(options);
        }
        self
    }

    fn with_timeout(self) -> LocalActivityCall<O, HasTimeout> {
        LocalActivityCall { handle: self.handle, name: self.name, types: PhantomData }
    }
}

impl<O: Data, T: TimeoutSet> Future for LocalActivityCall<O, T> {
    type Output = Result<O, ActivityFailure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Poll::Ready(settled) = self.handle.poll(context) else { return Poll::Pending };
        self.handle.activity_result(self.name, settled)
    }
}

impl<O, T: TimeoutState> fmt::Debug for LocalActivityCall<O, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalActivityCall({} `{}` at {})", self.handle.sequence, self.name, self.handle.at)
    }
}
