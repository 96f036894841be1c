//! Requests that wait for the code, and the streams that take them.
//!
//! A request is here only for the task that it was given with: one that nobody takes waits in the inbox of the run, and
//! comes again with the next task. So a replay, which gives a request to the code in the task that accepted it, finds
//! the code as it was.

use std::{
    collections::{BTreeMap, VecDeque},
    panic::Location,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use dacapo_core::{Command, Failure, UpdateOutcome, UpdateRequest};

use super::{RunState, Scope, signals::Waiter};

/// The requests of a task, and who waits for one of a name.
#[derive(Debug, Default)]
pub(super) struct Updates {
    waiting: VecDeque<UpdateRequest>,
    waiters: BTreeMap<(&'static str, u64), Waiter>,
}

impl Updates {
    pub(super) fn waits(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// Names what is waited for, by the number of whoever waits.
    pub(super) fn awaited(&self) -> impl Iterator<Item = (&str, u64, &Waiter)> {
        self.waiters.iter().map(|((name, id), waiter)| (*name, *id, waiter))
    }

    pub(super) fn end_task(&mut self) {
        self.waiting.clear();
    }

    /// Gives the wakers of streams that a cancellation reaches.
    pub(super) fn cancelled(&self) -> impl Iterator<Item = Waker> {
        self.waiters.values().filter(|waiter| waiter.scope.is_cancelled()).map(|waiter| waiter.waker.clone())
    }
}

impl RunState {
    /// Brings requests in and wakes who waits for one of their names.
    pub(crate) fn give_updates(&self, requests: impl IntoIterator<Item = UpdateRequest>) {
        let mut wakers = Vec::new();
        {
            let mut inner = self.inner.borrow_mut();
            let Updates { waiting, waiters } = &mut inner.updates;
            for request in requests {
                let listening = waiters.iter().filter(|((name, _), _)| *name == request.name);
                wakers.extend(listening.map(|(_, waiter)| waiter.waker.clone()));
                waiting.push_back(request);
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Polls for the next request of a name. `true` says that history has it as accepted already.
    pub(crate) fn poll_update(
        &self,
        name: &'static str,
        at: &'static Location<'static>,
        waiter: &mut Option<u64>,
        context: &mut Context<'_>,
    ) -> Poll<Option<(UpdateRequest, bool)>> {
        let scope: Rc<Scope> = self.scope();
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        let place = inner.updates.waiting.iter().position(|request| request.name == name);
        if let Some(request) = place.and_then(|place| inner.updates.waiting.remove(place)) {
            return Poll::Ready(Some((request, inner.record.is_some())));
        }
        if scope.is_cancelled() {
            inner.count_cancelled_call(at);
            return Poll::Ready(None);
        }
        let waiter = inner.waiter(waiter);
        inner.updates.waiters.insert((name, waiter), Waiter { waker: context.waker().clone(), scope, at });
        Poll::Pending
    }

    /// Forgets a stream that is done or given up.
    pub(crate) fn drop_update_waiter(&self, name: &'static str, waiter: u64) {
        let waiter = self.inner.borrow_mut().updates.waiters.remove(&(name, waiter));
        drop(waiter);
    }

    /// Takes a request on.
    pub(crate) fn accept_update(&self, update_id: &str, at: &'static Location<'static>) {
        self.note(Command::AcceptWorkflowExecutionUpdate { update_id: update_id.to_owned() }, at);
    }

    /// Refuses a request, which leaves no trace in history.
    pub(crate) fn reject_update(&self, update_id: String, failure: Failure, at: &'static Location<'static>) {
        self.note(Command::RejectWorkflowExecutionUpdate { update_id, failure: Box::new(failure) }, at);
    }

    /// Ends a request that was taken on.
    pub(crate) fn complete_update(&self, update_id: String, outcome: UpdateOutcome, at: &'static Location<'static>) {
        self.note(Command::CompleteWorkflowExecutionUpdate { update_id, outcome }, at);
    }
}
