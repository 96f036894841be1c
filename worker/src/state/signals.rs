//! Signals that arrived and were not received, in order, and the receivers that wait for more.

use std::{
    collections::{BTreeMap, VecDeque},
    panic::Location,
    rc::Rc,
    task::Waker,
};

use dacapo_core::{Payload, event::WorkflowExecutionSignaled};

use super::Scope;

/// The signals of a run, by name. Runs have few names, so they are searched one after the other.
#[derive(Debug, Default)]
pub(super) struct Signals {
    queues: Vec<Queue>,
    arrived: u64,
}

#[derive(Debug)]
struct Queue {
    name: String,
    /// Each with the number of its arrival among all.
    buffer: VecDeque<(u64, WorkflowExecutionSignaled)>,
    waiters: BTreeMap<u64, Waiter>,
}

/// Who waits for a message, and in which scope.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) waker: Waker,
    pub(super) scope: Rc<Scope>,
    /// The call in the code.
    pub(super) at: &'static Location<'static>,
}

impl Signals {
    /// Appends a signal. All who wait for the name are to be woken: the one woken alone might be a future that its
    /// owner never polls again.
    pub(super) fn push(&mut self, signal: WorkflowExecutionSignaled) -> Vec<Waker> {
        self.arrived += 1;
        let arrived = self.arrived;
        let queue = self.queue(&signal.signal_name);
        queue.buffer.push_back((arrived, signal));
        queue.waiters.values().map(|waiter| waiter.waker.clone()).collect()
    }

    /// Takes the oldest signal of a name.
    pub(super) fn take(&mut self, name: &str) -> Option<Payload> {
        let (_, signal) = self.queues.iter_mut().find(|queue| queue.name == name)?.buffer.pop_front()?;
        Some(signal.input)
    }

    /// Takes all that were not received, in the order of their arrival.
    pub(super) fn take_all(&mut self) -> Vec<WorkflowExecutionSignaled> {
        let mut left: Vec<_> = self.queues.iter_mut().flat_map(|queue| queue.buffer.drain(..)).collect();
        left.sort_by_key(|(arrived, _)| *arrived);
        left.into_iter().map(|(_, signal)| signal).collect()
    }

    /// Enters a receiver, or renews its waker.
    pub(super) fn wait(
        &mut self,
        name: &str,
        at: &'static Location<'static>,
        waiter: u64,
        scope: &Rc<Scope>,
        waker: &Waker,
    ) {
        let entry = self.queue(name).waiters.entry(waiter);
        let entry = entry.or_insert_with(|| Waiter { waker: waker.clone(), scope: Rc::clone(scope), at });
        entry.waker.clone_from(waker);
        entry.scope = Rc::clone(scope);
    }

    /// Removes a receiver; its waker is given back to be dropped where nothing is borrowed.
    pub(super) fn forget(&mut self, name: &str, waiter: u64) -> Option<Waker> {
        let queue = self.queues.iter_mut().find(|queue| queue.name == name)?;
        queue.waiters.remove(&waiter).map(|waiter| waiter.waker)
    }

    /// Gives the wakers of receivers that a cancellation reaches.
    pub(super) fn cancelled(&self) -> impl Iterator<Item = Waker> {
        let waiters = self.queues.iter().flat_map(|queue| queue.waiters.values());
        waiters.filter(|waiter| waiter.scope.is_cancelled()).map(|waiter| waiter.waker.clone())
    }

    /// Names what is waited for, by the number of whoever waits.
    pub(super) fn awaited(&self) -> impl Iterator<Item = (&str, u64, &Waiter)> {
        self.queues.iter().flat_map(|queue| queue.waiters.iter().map(|(id, waiter)| (queue.name.as_str(), *id, waiter)))
    }

    /// Says whether anyone waits.
    pub(super) fn waits(&self) -> bool {
        self.queues.iter().any(|queue| !queue.waiters.is_empty())
    }

    fn queue(&mut self, name: &str) -> &mut Queue {
        let index = self.queues.iter().position(|queue| queue.name == name).unwrap_or_else(|| {
            self.queues.push(Queue { name: name.to_owned(), buffer: VecDeque::new(), waiters: BTreeMap::new() });
            self.queues.len() - 1
        });
        &mut self.queues[index]
    }
}
