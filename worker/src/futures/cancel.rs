//! Waiting for a request to cancel, and keeping one out.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use crate::state::RunState;

/// Completes when the run is asked to cancel.
#[derive(Debug)]
#[must_use = "nothing is waited for unless this is awaited"]
pub struct Cancelled {
    state: Rc<RunState>,
    waiter: Option<u64>,
}

impl Cancelled {
    pub(crate) fn new(state: &Rc<RunState>) -> Self {
        Self { state: Rc::clone(state), waiter: None }
    }
}

impl Future for Cancelled {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.state.poll_cancelled(&mut this.waiter, context)
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter {
            self.state.drop_cancel_waiter(waiter);
        }
    }
}

/// A future that a request to cancel the run does not reach.
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Shielded<F> {
    state: Rc<RunState>,
    future: Pin<Box<F>>,
}

impl<F> Shielded<F> {
    pub(crate) fn new(state: &Rc<RunState>, future: F) -> Self {
        Self { state: Rc::clone(state), future: Box::pin(future) }
    }
}

impl<F: Future> Future for Shielded<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let future = this.future.as_mut();
        this.state.shielded(|| future.poll(context))
    }
}
