//! Signals that arrived and were not received, in order, and the receivers that wait for more.

use std::{
    collections::{BTreeMap, VecDeque},
    task::Waker,
};

use dacapo_core::Payload;

/// The signals of a run, by name. Runs have few names, so they are searched one after the other.
#[derive(Debug, Default)]
pub(super) struct Signals(Vec<Queue>);

#[derive(Debug)]
struct Queue {
    name: String,
    buffer: VecDeque<Payload>,
    waiters: BTreeMap<u64, Waiter>,
}

#[derive(Debug)]
struct Waiter {
    waker: Waker,
    shielded: bool,
}

impl Signals {
    /// Appends a signal. All who wait for the name are to be woken: the one woken alone might be a future that its
    /// owner never polls again.
    pub(super) fn push(&mut self, name: &str, input: Payload) -> Vec<Waker> {
        let queue = self.queue(name);
        queue.buffer.push_back(input);
        queue.waiters.values().map(|waiter| waiter.waker.clone()).collect()
    }

    /// Takes the oldest signal of a name.
    pub(super) fn take(&mut self, name: &str) -> Option<Payload> {
        self.0.iter_mut().find(|queue| queue.name == name)?.buffer.pop_front()
    }

    /// Enters a receiver, or renews its waker.
    pub(super) fn wait(&mut self, name: &str, waiter: u64, shielded: bool, waker: &Waker) {
        let entry = self.queue(name).waiters.entry(waiter);
        let entry = entry.or_insert_with(|| Waiter { waker: waker.clone(), shielded });
        entry.waker.clone_from(waker);
        entry.shielded = shielded;
    }

    /// Removes a receiver; its waker is given back to be dropped where nothing is borrowed.
    pub(super) fn forget(&mut self, name: &str, waiter: u64) -> Option<Waker> {
        let queue = self.0.iter_mut().find(|queue| queue.name == name)?;
        queue.waiters.remove(&waiter).map(|waiter| waiter.waker)
    }

    /// Gives the wakers of receivers that a request to cancel reaches.
    pub(super) fn unshielded(&self) -> impl Iterator<Item = Waker> {
        let waiters = self.0.iter().flat_map(|queue| queue.waiters.values());
        waiters.filter(|waiter| !waiter.shielded).map(|waiter| waiter.waker.clone())
    }

    /// Says whether anyone waits.
    pub(super) fn waits(&self) -> bool {
        self.0.iter().any(|queue| !queue.waiters.is_empty())
    }

    fn queue(&mut self, name: &str) -> &mut Queue {
        let index = self.0.iter().position(|queue| queue.name == name).unwrap_or_else(|| {
            self.0.push(Queue { name: name.to_owned(), buffer: VecDeque::new(), waiters: BTreeMap::new() });
            self.0.len() - 1
        });
        &mut self.0[index]
    }
}
