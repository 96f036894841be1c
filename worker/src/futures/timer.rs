//! Timers.

use std::{
    panic::Location,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use super::Handle;
use crate::{
    errors::WorkflowError,
    state::{Request, RunState, Settled},
};

/// A durable timer: completes when its time has come, however many processes have come and gone by then.
///
/// Ends with [`WorkflowError::Cancelled`] when the run is asked to cancel, or the scope around it is cancelled.
#[derive(Debug)]
#[must_use = "a timer does nothing unless it is awaited"]
pub struct Sleep(Handle);

impl Sleep {
    pub(crate) fn new(state: &Rc<RunState>, at: &'static Location<'static>, after: Duration) -> Self {
        Self(Handle::new(state, at, Request::Timer { after }))
    }
}

impl Future for Sleep {
    type Output = Result<(), WorkflowError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(context).map(|settled| match settled {
            Settled::Done => Ok(()),
            Settled::Cancelled
            | Settled::Completed(_)
            | Settled::Failed { .. }
            | Settled::NotStarted
            | Settled::Undelivered(_) => Err(WorkflowError::Cancelled),
        })
    }
}
