//! Waiting for a cancellation.

use std::{
    panic::Location,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use crate::state::{RunState, Scope};

/// Completes when the run is asked to cancel, or a scope is cancelled.
#[derive(Debug)]
#[must_use = "nothing is waited for unless this is awaited"]
pub struct Cancelled {
    state: Rc<RunState>,
    /// The run's own when absent.
    scope: Option<Rc<Scope>>,
    at: &'static Location<'static>,
    waiter: Option<u64>,
}

impl Cancelled {
    pub(crate) fn new(state: &Rc<RunState>, at: &'static Location<'static>, scope: Option<Rc<Scope>>) -> Self {
        Self { state: Rc::clone(state), scope, at, waiter: None }
    }
}

impl Future for Cancelled {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.state.poll_cancelled(this.scope.as_ref(), this.at, &mut this.waiter, context)
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter {
            self.state.drop_cancel_waiter(waiter);
        }
    }
}
