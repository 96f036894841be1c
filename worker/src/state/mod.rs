//! What a run's code and its executor share: one [`RunState`] per run in memory, on one thread.
//!
//! Durable futures enter themselves here at their first poll and leave when they are done or dropped; the executor
//! brings events in and takes commands out. No borrow of the state is held while code of the user runs: wakers are
//! called, values decoded and futures polled with nothing borrowed, so a panic there finds the state whole.

mod attributes;
mod deliver;
mod notes;
mod operation;
mod queries;
mod record;
mod scope;
mod signals;
mod stack;
mod tasks;
mod updates;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    panic::Location,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use dacapo_core::{
    Command, Payload, RunId, Timestamp, WorkflowId,
    event::{WorkflowExecutionStarted, WorkflowTaskFailedCause},
    ids::Sequence,
    limits,
};

use self::{
    attributes::Attributes,
    operation::{Kind, Operation, Outgoing, Phase, Wish},
    queries::Queries,
    signals::{Signals, Waiter},
    tasks::Tasks,
    updates::Updates,
};
pub(crate) use self::{
    notes::default_child_id,
    operation::{Request, Settled},
    record::TaskRecord,
    scope::Scope,
};
use crate::{executor::failure::TaskFailure, info::WorkflowInfo};

/// The calls of one task that may end at once because they are cancelled; code that passes it loops on them.
const CANCELLED_CALLS_MAX: u32 = 100_000;

/// A command with the place in the code that made it.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) command: Command,
    /// Absent for the end of the run.
    pub(crate) at: Option<&'static Location<'static>>,
    /// Whether the code said so in words, as opposed to dropping what it began.
    pub(crate) explicit: bool,
}

impl Made {
    pub(crate) fn new(command: Command, at: &'static Location<'static>) -> Self {
        Self { command, at: Some(at), explicit: false }
    }
}

/// The state of a run's code.
#[derive(Debug)]
pub(crate) struct RunState {
    info: WorkflowInfo,
    /// The run's own scope, which a request to cancel the run cancels.
    root: Rc<Scope>,
    /// The scope of the code that is being polled.
    scope: RefCell<Rc<Scope>>,
    /// Where the code last made a durable future.
    last_call: Cell<Option<&'static Location<'static>>>,
    /// Whether a query or a validator runs, which must leave no trace.
    answering: Cell<bool>,
    tasks: Tasks,
    queries: Queries,
    inner: RefCell<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    now: Timestamp,
    replaying: bool,
    continue_as_new_suggested: bool,
    /// Whether the code has ended or is thrown away; nothing is recorded any more.
    closed: bool,
    last_sequence: Sequence,
    draws: u64,
    /// What sets the random numbers of a branch of a history apart from those of its source.
    branch_seed: u64,
    operations: BTreeMap<Sequence, Operation>,
    out: Outgoing,
    /// What history knows of the task that is being run.
    record: Option<TaskRecord>,
    attributes: Attributes,
    /// The changes to the code about which the run has decided, and those that it has recorded.
    patches: BTreeMap<&'static str, bool>,
    recorded_patches: BTreeSet<String>,
    signals: Signals,
    updates: Updates,
    cancel_waiters: BTreeMap<u64, Waiter>,
    cancelled_calls: u32,
    last_waiter: u64,
    published: Vec<(String, Payload)>,
    published_names: Vec<&'static str>,
    failure: Option<TaskFailure>,
}

impl RunState {
    /// Makes the state of a run whose code has not begun.
    pub(crate) fn new(started: Arc<WorkflowExecutionStarted>) -> Rc<Self> {
        let root = Scope::root();
        let inner = Inner { attributes: Attributes::of(&started), ..Inner::default() };
        Rc::new(Self {
            info: WorkflowInfo::new(started),
            scope: RefCell::new(Rc::clone(&root)),
            root,
            last_call: Cell::new(None),
            answering: Cell::new(false),
            tasks: Tasks::default(),
            queries: Queries::default(),
            inner: RefCell::new(inner),
        })
    }

    // What the code asks.

    /// Gives the memo as the code has left it.
    pub(crate) fn memo(&self) -> Option<Payload> {
        self.inner.borrow().attributes.memo.clone()
    }

    /// Gives the search attributes as the code has left them.
    pub(crate) fn search_attributes(&self) -> Option<Payload> {
        self.inner.borrow().attributes.search_attributes.clone()
    }

    pub(crate) fn info(&self) -> &WorkflowInfo {
        &self.info
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.borrow().now
    }

    pub(crate) fn cancel_requested(&self) -> bool {
        self.root.is_cancelled()
    }

    pub(crate) fn continue_as_new_suggested(&self) -> bool {
        self.inner.borrow().continue_as_new_suggested
    }

    /// Gives a durable future its number.
    pub(crate) fn next_sequence(&self, at: &'static Location<'static>) -> Sequence {
        self.called_at(at);
        let mut inner = self.inner.borrow_mut();
        inner.last_sequence += 1;
        inner.last_sequence
    }

    /// Notes where a durable call is made.
    pub(crate) fn called_at(&self, at: &'static Location<'static>) {
        self.refuse_while_answering();
        self.last_call.set(Some(at));
    }

    /// Draws the next of the run's random numbers: splitmix64 over the run's id and a counter, so that a replay draws
    /// the same.
    pub(crate) fn draw(&self) -> u64 {
        self.refuse_while_answering();
        let (high, low) = self.info.original_run_id().0.as_u64_pair();
        let mut inner = self.inner.borrow_mut();
        inner.draws += 1;
        // The increment and the multipliers are those of splitmix64, https://prng.di.unimi.it/splitmix64.c
        let run = mix(high ^ low.rotate_left(32)) ^ inner.branch_seed;
        let seed = run.wrapping_add(inner.draws.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mix(seed)
    }

    /// Draws other numbers from here on than the run that this one was branched from: `event_id` and `at` are those of
    /// the event that says so, which no other branch of that run has.
    pub(crate) fn branched(&self, event_id: i64, at: Timestamp) {
        let mut inner = self.inner.borrow_mut();
        inner.branch_seed = mix(inner.branch_seed ^ mix(event_id.cast_unsigned()) ^ at.0.cast_unsigned());
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
        self.inner.borrow_mut().failure.get_or_insert(failure);
    }

    /// Fails the workflow task from code that has nothing to go on with.
    pub(crate) fn fail_and_stop(&self, failure: TaskFailure) -> ! {
        self.fail(failure);
        stop_code()
    }

    /// Polls an operation; its first poll makes it, with the command that `request` builds.
    pub(crate) fn poll_operation(
        &self,
        sequence: Sequence,
        at: &'static Location<'static>,
        context: &mut Context<'_>,
        request: &mut Option<Request>,
    ) -> Poll<Settled> {
        let scope = self.scope();
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        if let Some(request) = request.take() {
            if scope.is_cancelled() {
                inner.count_cancelled_call(at);
                return Poll::Ready(Settled::Cancelled);
            }
            let child_id = || inner.record.as_ref().and_then(|record| record.child_id(sequence));
            let (wish, kind) = request
                .split(sequence, || child_id().unwrap_or_else(|| default_child_id(self.info.run_id(), sequence)));
            match wish {
                Wish::Command(command) => inner.out.command(sequence, Made::new(command, at)),
                Wish::Local(task) => drop(inner.out.local.insert(sequence, task)),
            }
            inner.operations.insert(sequence, Operation::new(kind, at, scope, context.waker().clone()));
            return Poll::Pending;
        }
        let Entry::Occupied(mut entry) = inner.operations.entry(sequence) else { return Poll::Pending };
        let operation = entry.get_mut();
        operation.scope = scope;
        if operation.scope.is_cancelled() {
            operation.cancel(sequence, &mut inner.out);
        }
        if operation.is_settled() {
            let Phase::Settled(settled) = entry.remove().phase else { return Poll::Pending };
            return Poll::Ready(settled);
        }
        match &mut operation.waker {
            Some(waker) => waker.clone_from(context.waker()),
            empty => *empty = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Polls for the start of a child, whose first poll makes it; gives its workflow id and first run, or how it ended
    /// without one.
    pub(crate) fn poll_child_started(
        &self,
        sequence: Sequence,
        at: &'static Location<'static>,
        context: &mut Context<'_>,
        request: &mut Option<Request>,
    ) -> Poll<Result<(WorkflowId, RunId), Settled>> {
        if let Some(Operation { kind: Kind::Child(child), .. }) = self.inner.borrow().operations.get(&sequence)
            && let Some(run_id) = child.first_run
        {
            return Poll::Ready(Ok((child.workflow_id.clone(), run_id)));
        }
        self.poll_operation(sequence, at, context, request).map(Err)
    }

    /// Gives the workflow id of a child that has no outcome yet.
    pub(crate) fn child_workflow_id(&self, sequence: Sequence) -> Option<WorkflowId> {
        match &self.inner.borrow().operations.get(&sequence)?.kind {
            Kind::Child(child) => Some(child.workflow_id.clone()),
            Kind::Activity(_) | Kind::Timer | Kind::External | Kind::Local(_) => None,
        }
    }

    /// Asks a child to cancel itself.
    pub(crate) fn ask_child(&self, sequence: Sequence, reason: String, at: &'static Location<'static>) {
        self.called_at(at);
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        if let Some(operation) = inner.operations.get_mut(&sequence) {
            operation.ask_child(sequence, reason, at, &mut inner.out);
        }
    }

    /// Drops an operation that the code has given up.
    pub(crate) fn drop_operation(&self, sequence: Sequence) {
        let waker = {
            let mut inner = self.inner.borrow_mut();
            let inner = &mut *inner;
            let Some(mut operation) = inner.operations.remove(&sequence) else { return };
            if !inner.closed {
                operation.give_up(sequence, &mut inner.out);
            }
            operation.waker.take()
        };
        drop(waker);
    }

    /// Lets an operation go on that nobody waits for any more.
    pub(crate) fn detach_operation(&self, sequence: Sequence) {
        let operation = self.inner.borrow_mut().operations.remove(&sequence);
        drop(operation);
    }

    /// Polls for the next signal of a name.
    pub(crate) fn poll_signal(
        &self,
        name: &'static str,
        at: &'static Location<'static>,
        waiter: &mut Option<u64>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Payload>> {
        let scope = self.scope();
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        if let Some(payload) = inner.signals.take(name) {
            return Poll::Ready(Some(payload));
        }
        if scope.is_cancelled() {
            inner.count_cancelled_call(at);
            return Poll::Ready(None);
        }
        let waiter = inner.waiter(waiter);
        inner.signals.wait(name, at, waiter, &scope, context.waker());
        Poll::Pending
    }

    /// Forgets a receiver that is done or given up.
    pub(crate) fn drop_receiver(&self, name: &'static str, waiter: u64) {
        let waker = self.inner.borrow_mut().signals.forget(name, waiter);
        drop(waker);
    }

    // What the executor does.

    /// Takes the commands of this task, in the order of their numbers; their operations are in history from here on.
    pub(crate) fn take_commands(&self) -> Vec<Made> {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        inner.record = None;
        inner.updates.end_task();
        inner.out.notes = 0;
        for (sequence, _) in inner.out.commands.keys() {
            if let Some(operation) = inner.operations.get_mut(sequence) {
                operation.recorded();
            }
        }
        std::mem::take(&mut inner.out.commands).into_values().collect()
    }

    /// Takes what the runtime is to do about local activities.
    pub(crate) fn take_local(&self) -> dacapo_runtime::LocalActivities {
        self.inner.borrow_mut().out.take_local()
    }

    /// Takes the signals that the code did not receive, in the order of their arrival.
    pub(crate) fn take_signals(&self) -> Vec<dacapo_core::event::WorkflowExecutionSignaled> {
        self.inner.borrow_mut().signals.take_all()
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

    /// Drops the futures that the code has spawned.
    pub(crate) fn clear_tasks(&self) {
        self.tasks.clear();
    }

    /// Drops what the code has left here, which may hold this state in turn.
    pub(crate) fn clear(&self) {
        self.tasks.clear();
        self.queries.clear();
    }

    /// Says whether the code waits for something that only an event can bring.
    pub(crate) fn waits(&self) -> bool {
        let inner = self.inner.borrow();
        inner.operations.values().any(|operation| !operation.is_settled())
            || inner.signals.waits()
            || inner.updates.waits()
            || !inner.cancel_waiters.is_empty()
    }

    /// Gives the places of up to `count` calls that wait for an outcome.
    pub(crate) fn waits_at(&self, count: usize) -> Vec<&'static Location<'static>> {
        let inner = self.inner.borrow();
        let waiting = inner.operations.values().filter(|operation| !operation.is_settled());
        waiting.map(|operation| operation.at).take(count).collect()
    }

    /// Gives the place of the last durable future that was made.
    pub(crate) fn last_call(&self) -> Option<&'static Location<'static>> {
        self.last_call.get()
    }
}

impl Inner {
    /// Gives whoever waits a number, the first time.
    fn waiter(&mut self, waiter: &mut Option<u64>) -> u64 {
        *waiter.get_or_insert_with(|| {
            self.last_waiter += 1;
            self.last_waiter
        })
    }

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
                    "the code is cancelled, so every durable call ends at once, and it has made {CANCELLED_CALLS_MAX} \
                     of them in one task: return the error of a cancelled call with `?`, or put clean-up into \
                     `ctx.shielded(…)`"
                ),
            )
            .at(at)
        });
        stop_code();
    }
}

/// Ends the poll of the code. The failure of the task has been noted, so the unwinding says nothing.
fn stop_code() -> ! {
    std::panic::resume_unwind(Box::new(()))
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
