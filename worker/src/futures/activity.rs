//! Calls of activities.

use std::{
    any::type_name,
    fmt,
    marker::PhantomData,
    panic::Location,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use dacapo_core::{
    ActivityOptions, ActivityType, CancellationType, Failure, Payload, RetryPolicy, TaskQueue, payload::PayloadError,
};

use super::{Handle, millis, stored};
use crate::{
    define::{Data, HasTimeout, Meta, TimeoutSet, TimeoutState},
    errors::ActivityFailure,
    state::{Request, RunState, Settled},
};

/// A call of an activity, to be awaited; its options change what its declaration says, for this call.
///
/// It is a future once one of start-to-close and schedule-to-close is set, by its declaration or here.
#[must_use = "an activity is not called unless the call is awaited"]
pub struct ActivityCall<O, T> {
    handle: Handle,
    name: &'static str,
    types: PhantomData<fn() -> (O, T)>,
}

impl<O, T> ActivityCall<O, T> {
    pub(crate) fn new(
        state: &Rc<RunState>,
        at: &'static Location<'static>,
        meta: Meta,
        input: Result<Payload, PayloadError>,
    ) -> Self {
        let input = stored(state, at, input);
        let request = Request::Activity {
            activity_type: ActivityType::new(meta.name),
            input,
            options: Box::new(meta.options()),
            cancellation: CancellationType::default(),
        };
        Self { handle: Handle::new(state, at, request), name: meta.name, types: PhantomData }
    }

    /// Sets the longest time of one attempt.
    pub fn start_to_close(self, timeout: Duration) -> ActivityCall<O, HasTimeout> {
        self.set(|options| options.start_to_close_ms = Some(millis(timeout))).with_timeout()
    }

    /// Sets the longest time of all attempts together, with the waits between them.
    pub fn schedule_to_close(self, timeout: Duration) -> ActivityCall<O, HasTimeout> {
        self.set(|options| options.schedule_to_close_ms = Some(millis(timeout))).with_timeout()
    }

    /// Sets the longest time that one attempt waits for a worker.
    pub fn schedule_to_start(self, timeout: Duration) -> Self {
        self.set(|options| options.schedule_to_start_ms = Some(millis(timeout)))
    }

    /// Sets the longest time between two heartbeats of an attempt.
    pub fn heartbeat(self, timeout: Duration) -> Self {
        self.set(|options| options.heartbeat_ms = Some(millis(timeout)))
    }

    /// Sets how often and how soon a failed attempt is repeated.
    pub fn retry(self, policy: RetryPolicy) -> Self {
        self.set(|options| options.retry_policy = policy)
    }

    /// Runs the activity on another task queue than the workflow's.
    pub fn task_queue(self, queue: impl Into<TaskQueue>) -> Self {
        self.set(|options| options.task_queue = Some(queue.into()))
    }

    /// Sets the priority within the queue: 1 (first) to 5 (last); what is outside is brought to the nearer end.
    pub fn priority(self, priority: u8) -> Self {
        self.set(|options| options.priority = priority.clamp(1, 5))
    }

    /// Sets what the workflow sees when the call is cancelled with its run.
    pub fn cancellation(mut self, cancellation_type: CancellationType) -> Self {
        if let Some(Request::Activity { cancellation, .. }) = &mut self.handle.request {
            *cancellation = cancellation_type;
        }
        self
    }

    fn set(mut self, set: impl FnOnce(&mut ActivityOptions)) -> Self {
        if let Some(Request::Activity { options, .. }) = &mut self.handle.request {
            set(options);
        }
        self
    }

    fn with_timeout(self) -> ActivityCall<O, HasTimeout> {
        ActivityCall { handle: self.handle, name: self.name, types: PhantomData }
    }
}

impl<O: Data, T: TimeoutSet> Future for ActivityCall<O, T> {
    type Output = Result<O, ActivityFailure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Poll::Ready(settled) = self.handle.poll(context) else { return Poll::Pending };
        self.handle.activity_result(self.name, settled)
    }
}

impl Handle {
    /// Makes of the end of an activity what its caller gets.
    pub(super) fn activity_result<O: Data>(
        &self,
        name: &'static str,
        settled: Settled,
    ) -> Poll<Result<O, ActivityFailure>> {
        match settled {
            Settled::Completed(result) => self.decode(|| format!("result of activity `{name}`"), &result).map(Ok),
            Settled::Failed { failure, retry_state } => {
                Poll::Ready(Err(ActivityFailure::new(name, *failure, retry_state)))
            }
            Settled::Cancelled | Settled::Done | Settled::NotStarted | Settled::Undelivered(_) => {
                let cancelled = Failure::canceled("the call was cancelled with its run");
                Poll::Ready(Err(ActivityFailure::new(name, cancelled, None)))
            }
        }
    }
}

impl<O, T: TimeoutState> fmt::Debug for ActivityCall<O, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Handle { sequence, at, .. } = &self.handle;
        write!(f, "ActivityCall({sequence} `{}` -> {} at {at})", self.name, type_name::<O>())
    }
}
