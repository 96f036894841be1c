//! What a run's code and its executor share: one [`RunState`] per run in memory, on one thread.
//!
//! Durable futures enter themselves here at their first poll and leave when they are done or dropped; the executor
//! brings events in and takes commands out. No borrow of the state is held while code of the user runs: wakers are
//! called, values decoded and futures polled with nothing borrowed, so a panic there finds the state whole.

mod operation;
mod signals;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, btree_map::Entry},
    panic::Location,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use dacapo_core::{
    Command, Payload, Timestamp,
    event::{WorkflowExecutionStarted, WorkflowTaskFailedCause},
    ids::Sequence,
    limits,
};

pub(crate) use self::operation::{Request, Settled};
use self::{
    operation::{Operation, Phase},
    signals::Signals,
};
use crate::{context::WorkflowInfo, executor::failure::TaskFailure};

/// The calls of one task that may end at once because the run is cancelled; code that passes it loops on them.
const CANCELLED_CALLS_MAX: u32 = 100_000;

/// A command with the place in the code that made it.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) command: Command,
    /// Absent for the end of the run.
    pub(crate) at: Option<&'static Location<'static>>,
}

/// The state of a run's code.
#[derive(Debug)]
pub(crate) struct RunState {
    info: WorkflowInfo,
    /// Depth of `shielded` futures that are being polled.
    shields: Cell<u32>,
    /// Where the code last made a durable future.
    last_call: Cell<Option<&'static Location<'static>>>,
    inner: RefCell<Inner>,
}

#[derive(Debug)]
struct Inner {
    now: Timestamp,
    replaying: bool,
    /// Whether the code has ended or is thrown away; nothing is recorded any more.
    closed: bool,
    last_sequence: Sequence,
    draws: u64,
    operations: BTreeMap<Sequence, Operation>,
    /// Commands of this task. One operation makes at most one in a task, so the order is the order of numbers.
    commands: BTreeMap<Sequence, Made>,
    signals: Signals,
    cancel_requested: bool,
    cancel_waiters: BTreeMap<u64, Waker>,
    cancelled_calls: u32,
    last_waiter: u64,
    published: Vec<(String, Payload)>,
    published_names: Vec<&'static str>,
    failure: Option<TaskFailure>,
}

impl RunState {
    /// Makes the state of a run whose code has not begun.
    pub(crate) fn new(started: Arc<WorkflowExecutionStarted>) -> Rc<Self> {
        Rc::new(Self {
            info: WorkflowInfo::new(started),
            shields: Cell::new(0),
            last_call: Cell::new(None),
            inner: RefCell::new(Inner {
                now: Timestamp::default(),
                replaying: false,
                closed: false,
                last_sequence: 0,
                draws: 0,
                operations: BTreeMap::new(),
                commands: BTreeMap::new(),
                signals: Signals::default(),
                cancel_requested: false,
                cancel_waiters: BTreeMap::new(),
                cancelled_calls: 0,
                last_waiter: 0,
                published: Vec::new(),
                published_names: Vec::new(),
                failure: None,
            }),
        })
    }

    // What the code asks.

    pub(crate) fn info(&self) -> &WorkflowInfo {
        &self.info
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.borrow().now
    }

    pub(crate) fn cancel_requested(&self) -> bool {
        self.inner.borrow().cancel_requested
    }

    /// Gives a durable future its number.
    pub(crate) fn next_sequence(&self, at: &'static Location<'static>) -> Sequence {
        self.last_call.set(Some(at));
        let mut inner = self.inner.borrow_mut();
        inner.last_sequence += 1;
        inner.last_sequence
    }

    /// Notes where a durable future without a number is made.
    pub(crate) fn called_at(&self, at: &'static Location<'static>) {
        self.last_call.set(Some(at));
    }

    /// Draws the next of the run's random numbers: splitmix64 over the run's id and a counter, so that a replay draws
    /// the same.
    pub(crate) fn draw(&self) -> u64 {
        let (high, low) = self.info.run_id().0.as_u64_pair();
        let mut inner = self.inner.borrow_mut();
        inner.draws += 1;
        // The increment and the multipliers are those of splitmix64, https://prng.di.unimi.it/splitmix64.c
        let seed = mix(high ^ low.rotate_left(32)).wrapping_add(inner.draws.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mix(seed)
    }

    /// Takes a value for a query; `encode` runs only where the value is new to the store.
    pub(crate) fn publish(&self, name: &'static str, encode: impl FnOnce() -> Option<Payload>) {
        let replaying = {
            let mut inner = self.inner.borrow_mut();
            if !inner.published_names.contains(&name) {
                if inner.published_names.len() == limits::PUBLISHED_VALUES_MAX {
                    drop(inner);
                    let limit = limits::PUBLISHED_VALUES_MAX;
                    return self.fail(TaskFailure::new(
                        WorkflowTaskFailedCause::BadCommand,
                        format!("`{name}` would be published value {} of the run, the limit is {limit}: publish one value with several fields", limit + 1),
                    ));
                }
                inner.published_names.push(name);
            }
            inner.replaying
        };
        if replaying {
            return;
        }
        let Some(value) = encode() else { return };
        let mut inner = self.inner.borrow_mut();
        // Only the last value of a task is ever seen, so only that one is written.
        inner.published.retain(|(published, _)| published != name);
        inner.published.push((name.to_owned(), value));
    }

    /// Fails the workflow task; the code is not polled again. The first failure counts.
    pub(crate) fn fail(&self, failure: TaskFailure) {
        let mut inner = self.inner.borrow_mut();
        if inner.failure.is_none() {
            inner.failure = Some(failure);
        }
    }

    /// Runs code whose durable calls a request to cancel does not reach.
    pub(crate) fn shielded<R>(&self, code: impl FnOnce() -> R) -> R {
        struct Shield<'a>(&'a Cell<u32>);
        impl Drop for Shield<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() - 1);
            }
        }
        self.shields.set(self.shields.get() + 1);
        let _shield = Shield(&self.shields);
        code()
    }

    fn is_shielded(&self) -> bool {
        self.shields.get() > 0
    }

    /// Polls an operation; its first poll makes it, with the command that `request` builds.
    pub(crate) fn poll_operation(
        &self,
        sequence: Sequence,
        at: &'static Location<'static>,
        context: &mut Context<'_>,
        request: &mut Option<Request>,
    ) -> Poll<Settled> {
        let shielded = self.is_shielded();
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        if let Some(request) = request.take() {
            if inner.cancel_requested && !shielded {
                inner.count_cancelled_call(at);
                return Poll::Ready(Settled::Cancelled);
            }
            let (command, kind) = request.split(sequence);
            inner.commands.insert(sequence, Made { command, at: Some(at) });
            inner.operations.insert(sequence, Operation::new(kind, at, shielded, context.waker().clone()));
            return Poll::Pending;
        }
        let Entry::Occupied(mut entry) = inner.operations.entry(sequence) else { return Poll::Pending };
        let operation = entry.get_mut();
        operation.shielded = shielded;
        if inner.cancel_requested && !shielded {
            operation.cancel(sequence, &mut inner.commands);
        }
        if let Phase::Settled(_) = operation.phase {
            let Phase::Settled(settled) = entry.remove().phase else { return Poll::Pending };
            return Poll::Ready(settled);
        }
        match &mut operation.waker {
            Some(waker) => waker.clone_from(context.waker()),
            empty => *empty = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Drops an operation that the code has given up.
    pub(crate) fn drop_operation(&self, sequence: Sequence) {
        let waker = {
            let mut inner = self.inner.borrow_mut();
            let inner = &mut *inner;
            let Some(mut operation) = inner.operations.remove(&sequence) else { return };
            if !inner.closed {
                operation.give_up(sequence, &mut inner.commands);
            }
            operation.waker.take()
        };
        drop(waker);
    }

    /// Polls for the next signal of a name.
    pub(crate) fn poll_signal(
        &self,
        name: &'static str,
        at: &'static Location<'static>,
        waiter: &mut Option<u64>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Payload>> {
        let shielded = self.is_shielded();
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        if let Some(payload) = inner.signals.take(name) {
            return Poll::Ready(Some(payload));
        }
        if inner.cancel_requested && !shielded {
            inner.count_cancelled_call(at);
            return Poll::Ready(None);
        }
        let waiter = *waiter.get_or_insert_with(|| {
            inner.last_waiter += 1;
            inner.last_waiter
        });
        inner.signals.wait(name, waiter, shielded, context.waker());
        Poll::Pending
    }

    /// Forgets a receiver that is done or given up.
    pub(crate) fn drop_receiver(&self, name: &'static str, waiter: u64) {
        let waker = self.inner.borrow_mut().signals.forget(name, waiter);
        drop(waker);
    }

    /// Polls for a request to cancel the run.
    pub(crate) fn poll_cancelled(&self, waiter: &mut Option<u64>, context: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        if inner.cancel_requested {
            return Poll::Ready(());
        }
        let waiter = *waiter.get_or_insert_with(|| {
            inner.last_waiter += 1;
            inner.last_waiter
        });
        inner.cancel_waiters.insert(waiter, context.waker().clone());
        Poll::Pending
    }

    /// Forgets one who waited for a request to cancel.
    pub(crate) fn drop_cancel_waiter(&self, waiter: u64) {
        let waker = self.inner.borrow_mut().cancel_waiters.remove(&waiter);
        drop(waker);
    }

    // What the executor does.

    /// Begins a task: `now` is its start by the history.
    pub(crate) fn begin_task(&self, now: Timestamp, replaying: bool) {
        let mut inner = self.inner.borrow_mut();
        inner.now = now;
        inner.replaying = replaying;
        inner.cancelled_calls = 0;
    }

    /// Notes that an operation's outcome comes later in this task, so that giving it up needs no command.
    pub(crate) fn announce(&self, sequence: Sequence) {
        if let Some(operation) = self.inner.borrow_mut().operations.get_mut(&sequence) {
            operation.announced = true;
        }
    }

    /// Brings an outcome in and wakes who waits for it. Outcomes of what the code gave up are dropped.
    pub(crate) fn settle(&self, sequence: Sequence, outcome: impl FnOnce() -> Settled) {
        let waker = match self.inner.borrow_mut().operations.get_mut(&sequence) {
            Some(operation) => operation.settle(outcome),
            None => None,
        };
        wake(waker);
    }

    /// Brings a signal in and wakes all who wait for one of its name.
    pub(crate) fn signal(&self, name: &str, input: Payload) {
        let wakers = self.inner.borrow_mut().signals.push(name, input);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Brings a request to cancel in: every outstanding call outside of a shield ends as cancelled.
    pub(crate) fn request_cancel(&self) {
        let mut wakers = Vec::new();
        {
            let mut inner = self.inner.borrow_mut();
            let inner = &mut *inner;
            if std::mem::replace(&mut inner.cancel_requested, true) {
                return;
            }
            wakers.extend(std::mem::take(&mut inner.cancel_waiters).into_values());
            for (&sequence, operation) in &mut inner.operations {
                if !operation.shielded {
                    wakers.extend(operation.cancel(sequence, &mut inner.commands));
                }
            }
            wakers.extend(inner.signals.unshielded());
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Takes the commands of this task, in the order of their numbers; their operations are in history from here on.
    pub(crate) fn take_commands(&self) -> BTreeMap<Sequence, Made> {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        for sequence in inner.commands.keys() {
            if let Some(operation) = inner.operations.get_mut(sequence) {
                operation.recorded();
            }
        }
        std::mem::take(&mut inner.commands)
    }

    /// Takes the values published in this task.
    pub(crate) fn take_published(&self) -> Vec<(String, Payload)> {
        std::mem::take(&mut self.inner.borrow_mut().published)
    }

    /// Takes what failed the task.
    pub(crate) fn take_failure(&self) -> Option<TaskFailure> {
        self.inner.borrow_mut().failure.take()
    }

    /// Ends the recording: the code has ended, or is thrown away.
    pub(crate) fn close(&self) {
        self.inner.borrow_mut().closed = true;
    }

    /// Says whether the code waits for something that only an event can bring.
    pub(crate) fn waits(&self) -> bool {
        let inner = self.inner.borrow();
        inner.operations.values().any(|operation| !matches!(operation.phase, Phase::Settled(_)))
            || inner.signals.waits()
            || !inner.cancel_waiters.is_empty()
    }

    /// Gives the places of up to `count` calls that wait for an outcome.
    pub(crate) fn waits_at(&self, count: usize) -> Vec<&'static Location<'static>> {
        let inner = self.inner.borrow();
        let waiting = inner.operations.values().filter(|operation| !matches!(operation.phase, Phase::Settled(_)));
        waiting.map(|operation| operation.at).take(count).collect()
    }

    /// Gives the place of the last durable future that was made.
    pub(crate) fn last_call(&self) -> Option<&'static Location<'static>> {
        self.last_call.get()
    }
}

impl Inner {
    /// Counts a call that ended at once. Code that does nothing else never comes back, so it is stopped from here.
    fn count_cancelled_call(&mut self, at: &'static Location<'static>) {
        self.cancelled_calls += 1;
        if self.cancelled_calls < CANCELLED_CALLS_MAX {
            return;
        }
        self.failure.get_or_insert_with(|| {
            TaskFailure::new(
                WorkflowTaskFailedCause::NoProgress,
                format!(
                    "the run is cancelled, so every durable call ends at once, and the code has made \
                     {CANCELLED_CALLS_MAX} of them in one task: return the error of a cancelled call with `?`, or put \
                     clean-up into `ctx.shielded(…)`"
                ),
            )
            .at(at)
        });
        // Without a message: the failure above is the message.
        std::panic::resume_unwind(Box::new(()));
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The finalizer of splitmix64.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
