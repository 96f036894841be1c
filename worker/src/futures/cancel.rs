//! Waiting for a cancellation.

use std::{
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
    waiter: Option<u64>,
}

impl Cancelled {
    pub(crate) fn new(state: &Rc<RunState>, scope: Option<Rc<Scope>>) -> Self {
        Self { state: Rc::clone(state), scope, waiter: None }
    }
}

impl Future for Cancelled {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.state.poll_cancelled(this.scope.as_ref(), &mut this.waiter, context)
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter {
            self.state.drop_cancel_waiter(waiter);
        }
    }
}
