//! Cancellation scopes: a tree that hangs below the run. A cancellation reaches down to the leaves, and stops at shields.
//!
//! A scope knows its parent and nothing else, so whoever holds a leaf keeps its way up, and a scope that nobody holds is
//! gone.

use std::{
    cell::{Cell, RefCell},
    panic::Location,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use super::{RunState, signals::Waiter};

/// A scope.
#[derive(Debug)]
pub(crate) struct Scope {
    parent: Option<Rc<Self>>,
    shields: bool,
    cancelled: Cell<bool>,
}

impl Scope {
    /// Makes the scope of a run.
    pub(super) fn root() -> Rc<Self> {
        Rc::new(Self { parent: None, shields: false, cancelled: Cell::new(false) })
    }

    /// Makes a scope inside of another.
    pub(crate) fn inside(parent: &Rc<Self>) -> Rc<Self> {
        Rc::new(Self { parent: Some(Rc::clone(parent)), shields: false, cancelled: Cell::new(false) })
    }

    /// Makes a scope that what happens to the one around it does not reach.
    pub(crate) fn shielded_from(parent: &Rc<Self>) -> Rc<Self> {
        Rc::new(Self { parent: Some(Rc::clone(parent)), shields: true, cancelled: Cell::new(false) })
    }

    /// Says whether a cancellation reaches it.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.get() || (!self.shields && self.parent.as_ref().is_some_and(|parent| parent.is_cancelled()))
    }

    /// Notes its cancellation; says whether it is the first.
    pub(super) fn cancel(&self) -> bool {
        !self.cancelled.replace(true)
    }
}

impl RunState {
    /// Gives the scope of the code that is being polled.
    pub(crate) fn scope(&self) -> Rc<Scope> {
        Rc::clone(&self.scope.borrow())
    }

    /// Runs code in a scope.
    pub(crate) fn within<R>(&self, scope: &Rc<Scope>, code: impl FnOnce() -> R) -> R {
        struct Back<'a>(&'a RefCell<Rc<Scope>>, Rc<Scope>);
        impl Drop for Back<'_> {
            fn drop(&mut self) {
                self.0.swap(&RefCell::new(Rc::clone(&self.1)));
            }
        }
        let before = self.scope.replace(Rc::clone(scope));
        let _back = Back(&self.scope, before);
        code()
    }

    /// Polls for the cancellation of a scope; without one, of the run.
    pub(crate) fn poll_cancelled(
        &self,
        scope: Option<&Rc<Scope>>,
        at: &'static Location<'static>,
        waiter: &mut Option<u64>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let scope = scope.unwrap_or(&self.root);
        if scope.is_cancelled() {
            return Poll::Ready(());
        }
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        let waiter = inner.waiter(waiter);
        let scope = Rc::clone(scope);
        inner.cancel_waiters.insert(waiter, Waiter { waker: context.waker().clone(), scope, at });
        Poll::Pending
    }

    /// Forgets one who waited for a cancellation.
    pub(crate) fn drop_cancel_waiter(&self, waiter: u64) {
        let waiter = self.inner.borrow_mut().cancel_waiters.remove(&waiter);
        drop(waiter);
    }

    /// Cancels a scope: every outstanding call in it, outside of shields, ends as cancelled.
    pub(crate) fn cancel_scope(&self, scope: &Rc<Scope>) {
        if !scope.cancel() {
            return;
        }
        let mut wakers = Vec::new();
        {
            let mut inner = self.inner.borrow_mut();
            let inner = &mut *inner;
            let reached = inner.cancel_waiters.extract_if(.., |_, waiter| waiter.scope.is_cancelled());
            wakers.extend(reached.map(|(_, waiter)| waiter.waker));
            for (&sequence, operation) in &mut inner.operations {
                if operation.scope.is_cancelled() {
                    wakers.extend(operation.cancel(sequence, &mut inner.out));
                }
            }
            wakers.extend(inner.signals.cancelled());
            wakers.extend(inner.updates.cancelled());
        }
        wakers.into_iter().for_each(Waker::wake);
    }
}
