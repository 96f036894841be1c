//! Scopes of cancellation: what is cancelled together, and what is kept out of it.

use std::{
    fmt,
    panic::Location,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use super::Cancelled;
use crate::state::{RunState, Scope};

/// Cancels the durable calls of a scope, which is a part of the workflow's code that was run under it.
///
/// Cloning gives another handle on the same scope. A cancellation of the scope around it, up to the run, reaches it too.
#[derive(Clone)]
pub struct CancellationToken {
    state: Rc<RunState>,
    scope: Rc<Scope>,
}

impl CancellationToken {
    /// Makes a scope inside of the one that the code is in.
    pub(crate) fn new(state: &Rc<RunState>) -> Self {
        Self { state: Rc::clone(state), scope: Scope::inside(&state.scope()) }
    }

    /// Runs a future under the token: cancelling it ends every durable call that the future waits for as cancelled.
    pub fn run<F: IntoFuture>(&self, future: F) -> Scoped<F::IntoFuture> {
        Scoped { state: Rc::clone(&self.state), scope: Rc::clone(&self.scope), future: Box::pin(future.into_future()) }
    }

    /// Cancels the scope; activities, timers and children in it are told as their cancellation types say.
    pub fn cancel(&self) {
        self.state.cancel_scope(&self.scope);
    }

    /// Tells whether the scope, or one around it, is cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.scope.is_cancelled()
    }

    /// Waits until the scope, or one around it, is cancelled.
    #[track_caller]
    pub fn cancelled(&self) -> Cancelled {
        Cancelled::new(&self.state, Location::caller(), Some(Rc::clone(&self.scope)))
    }
}

impl fmt::Debug for CancellationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancellationToken").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

/// A future that runs in a scope of cancellation.
#[must_use = "futures do nothing unless they are awaited"]
pub struct Scoped<F> {
    state: Rc<RunState>,
    scope: Rc<Scope>,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let future = this.future.as_mut();
        this.state.within(&this.scope, || future.poll(context))
    }
}

impl<F> fmt::Debug for Scoped<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scoped").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// A future that a request to cancel the run, or the scope around it, does not reach.
#[must_use = "futures do nothing unless they are awaited"]
pub struct Shielded<F> {
    state: Rc<RunState>,
    scope: Rc<Scope>,
    future: Pin<Box<F>>,
}

impl<F> Shielded<F> {
    pub(crate) fn new(state: &Rc<RunState>, future: F) -> Self {
        let scope = Scope::shielded_from(&state.scope());
        Self { state: Rc::clone(state), scope, future: Box::pin(future) }
    }
}

impl<F: Future> Future for Shielded<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let future = this.future.as_mut();
        this.state.within(&this.scope, || future.poll(context))
    }
}

impl<F> fmt::Debug for Shielded<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shielded").finish_non_exhaustive()
    }
}
