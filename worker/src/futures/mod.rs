//! Durable futures: what workflow code awaits.
//!
//! Each takes its number when it is made, in program order, and makes its command at its first poll. Never polled, or
//! polled and dropped in one activation, it leaves nothing in history; dropped later, it is cancelled. All are plain
//! futures with real wakers, so whatever combines futures without time or randomness of its own combines these.

mod activity;
mod cancel;
mod child;
mod external;
mod local_activity;
mod requests;
mod scope;
mod signal;
mod spawn;
mod timer;

pub use self::{
    activity::ActivityCall,
    cancel::Cancelled,
    child::{ChildCall, ChildHandle, ChildResult, ChildStart},
    external::{ExternalCall, ExternalWorkflow},
    local_activity::LocalActivityCall,
    requests::{Request as UpdateRequest, Requests},
    scope::{CancellationToken, Scoped, Shielded},
    signal::Receive,
    spawn::JoinHandle,
    timer::Sleep,
};

use std::{
    panic::Location,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use dacapo_core::{Payload, event::WorkflowTaskFailedCause, ids::Sequence, payload::PayloadError};

use crate::{
    define::Data,
    executor::failure::TaskFailure,
    state::{Request, RunState, Settled},
};

/// What was begun as its future holds it; dropping it gives the operation up.
#[derive(Debug)]
struct Handle {
    state: Rc<RunState>,
    sequence: Sequence,
    at: &'static Location<'static>,
    /// What the first poll asks for.
    request: Option<Request>,
    /// Whether the operation goes on when this is dropped.
    detached: bool,
}

impl Handle {
    fn new(state: &Rc<RunState>, at: &'static Location<'static>, request: Request) -> Self {
        let sequence = state.next_sequence(at);
        Self { state: Rc::clone(state), sequence, at, request: Some(request), detached: false }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Settled> {
        self.state.poll_operation(self.sequence, self.at, context, &mut self.request)
    }

    /// Reads what an operation gave; one that cannot be read fails the task, so that it is not lost to a wrong build.
    fn decode<T: Data>(&self, what: impl FnOnce() -> String, value: &Payload) -> Poll<T> {
        match value.decode(&what()) {
            Ok(value) => Poll::Ready(value),
            Err(error) => {
                self.state.fail(TaskFailure::payload(&error).at(self.at));
                Poll::Pending
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.request.is_some() {
            return;
        }
        if self.detached {
            self.state.detach_operation(self.sequence);
        } else {
            self.state.drop_operation(self.sequence);
        }
    }
}

/// Takes an encoded value; one that cannot be stored fails the task.
fn stored(state: &RunState, at: &'static Location<'static>, value: Result<Payload, PayloadError>) -> Payload {
    value.unwrap_or_else(|error| {
        state.fail(TaskFailure::payload(&error).at(at));
        Payload::null()
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl TaskFailure {
    /// A value that cannot be written or read, or is too large.
    pub(crate) fn payload(error: &PayloadError) -> Self {
        let cause = match error {
            PayloadError::Encode { .. } | PayloadError::Decode { .. } => WorkflowTaskFailedCause::BadPayload,
            PayloadError::TooLarge { .. } => WorkflowTaskFailedCause::BadCommand,
        };
        Self::new(cause, error.to_string())
    }
}
