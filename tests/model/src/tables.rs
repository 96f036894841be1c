//! The tables of the protocol, as small as the rules allow: who owns a run, what is recorded, what waits.
//!
//! A row of `runs_open` that exists is an open run; closing moves it to `closed`. The lease of a worker is not a column here but part of
//! the clock ([`Tables::lapsed`]): time passes without a transaction, so a lapse never counts as a change of the row.

use std::collections::{BTreeMap, BTreeSet};

/// Names a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RunId(pub(crate) u8);

/// Names one registration of a worker; a process that registers anew gets another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkerId(pub(crate) u8);

/// Names an activity of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ActivityId(pub(crate) u8);

/// Names a durable timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TimerId(pub(crate) u8);

/// Is a message and its id at once: what a resend repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Message {
    Signal(u8),
    Completed(ActivityId),
    TimerDue(TimerId),
    Terminate,
}

/// Is an event of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Event {
    Started,
    Received(Message),
    Scheduled(ActivityId),
    Completed(ActivityId),
    WorkerLost(ActivityId),
    TimerFired(TimerId),
    Closed,
}

/// Is one row of `history`: the events of a transition and the epoch that its writer held.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Batch {
    pub(crate) first: u8,
    pub(crate) epoch: u8,
    pub(crate) events: Vec<Event>,
}

/// Is one row of `runs_open`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Run {
    pub(crate) owner: Option<WorkerId>,
    pub(crate) epoch: u8,
    /// The next event, if the run has no owner; of one that has, the history alone says it, and this lags behind.
    pub(crate) next: u8,
}

/// Is one row of `activities`: an attempt that is offered, claimed, or announced before it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Task {
    pub(crate) run: RunId,
    /// How many attempts were handed out.
    pub(crate) attempt: u8,
    pub(crate) claimed_by: Option<WorkerId>,
    pub(crate) token: u8,
    /// Whether other processes may claim it; else the row announces an attempt of the run's owner.
    pub(crate) remote: bool,
}

/// Is one row of `handed`: a run that was started for a worker which has not taken it yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Handed {
    pub(crate) worker: WorkerId,
    pub(crate) next: u8,
}

/// Is a row of any table whose rows are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Row {
    Run(Run),
    Task(Task),
    Timer(RunId),
    Handed(Handed),
    Worker {
        dead: bool,
        lapsed: bool,
    },
    /// A row of which only the key matters: inbox, ready.
    Key,
}

/// Names a row by its table and primary key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum RowKey {
    Run(RunId),
    Inbox(RunId, Message),
    Ready(RunId),
    Task(ActivityId),
    Timer(TimerId),
    Handed(RunId),
    Worker(WorkerId),
}

/// Is a change that a transaction holds back until its commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Write {
    Put(RowKey, Row),
    Delete(RowKey),
    Append(RunId, Batch),
    Close(RunId),
    Outbox(RunId, Message),
}

/// Holds what is committed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Tables {
    pub(crate) runs: BTreeMap<RunId, Run>,
    pub(crate) closed: BTreeSet<RunId>,
    pub(crate) history: BTreeMap<RunId, Vec<Batch>>,
    pub(crate) inbox: BTreeSet<(RunId, Message)>,
    /// Messages to other runs, written with the transition that made them.
    pub(crate) outbox: BTreeSet<(RunId, Message)>,
    pub(crate) ready: BTreeSet<RunId>,
    pub(crate) tasks: BTreeMap<ActivityId, Task>,
    pub(crate) timers: BTreeMap<TimerId, RunId>,
    pub(crate) handed: BTreeMap<RunId, Handed>,
    /// Registered workers; true = dead.
    pub(crate) workers: BTreeMap<WorkerId, bool>,
    /// Workers whose `lease_until` the clock has passed.
    pub(crate) lapsed: BTreeSet<WorkerId>,
}

impl Tables {
    /// Reads a row by its key.
    pub(crate) fn row(&self, key: RowKey) -> Option<Row> {
        match key {
            RowKey::Run(run) => self.runs.get(&run).copied().map(Row::Run),
            RowKey::Inbox(run, message) => self.inbox.contains(&(run, message)).then_some(Row::Key),
            RowKey::Ready(run) => self.ready.contains(&run).then_some(Row::Key),
            RowKey::Task(activity) => self.tasks.get(&activity).copied().map(Row::Task),
            RowKey::Timer(timer) => self.timers.get(&timer).copied().map(Row::Timer),
            RowKey::Handed(run) => self.handed.get(&run).copied().map(Row::Handed),
            RowKey::Worker(worker) => {
                let lapsed = self.lapsed.contains(&worker);
                self.workers.get(&worker).map(|dead| Row::Worker { dead: *dead, lapsed })
            }
        }
    }

    /// Applies a committed change.
    pub(crate) fn apply(&mut self, write: &Write) {
        match write {
            Write::Put(key, row) => self.put(*key, *row),
            Write::Delete(key) => self.delete(*key),
            Write::Append(run, batch) => self.history.entry(*run).or_default().push(batch.clone()),
            Write::Close(run) => {
                self.closed.insert(*run);
            }
            Write::Outbox(to, message) => {
                self.outbox.insert((*to, *message));
            }
        }
    }

    fn put(&mut self, key: RowKey, row: Row) {
        match (key, row) {
            (RowKey::Run(id), Row::Run(run)) => drop(self.runs.insert(id, run)),
            (RowKey::Inbox(run, message), _) => drop(self.inbox.insert((run, message))),
            (RowKey::Ready(run), _) => drop(self.ready.insert(run)),
            (RowKey::Task(id), Row::Task(task)) => drop(self.tasks.insert(id, task)),
            (RowKey::Timer(id), Row::Timer(run)) => drop(self.timers.insert(id, run)),
            (RowKey::Handed(id), Row::Handed(handed)) => drop(self.handed.insert(id, handed)),
            (RowKey::Worker(id), Row::Worker { dead, lapsed }) => {
                self.workers.insert(id, dead);
                if !lapsed {
                    self.lapsed.remove(&id);
                }
            }
            (key, row) => unreachable!("{row:?} is no row of {key:?}"),
        }
    }

    fn delete(&mut self, key: RowKey) {
        match key {
            RowKey::Run(id) => drop(self.runs.remove(&id)),
            RowKey::Inbox(run, message) => drop(self.inbox.remove(&(run, message))),
            RowKey::Ready(run) => drop(self.ready.remove(&run)),
            RowKey::Task(id) => drop(self.tasks.remove(&id)),
            RowKey::Timer(id) => drop(self.timers.remove(&id)),
            RowKey::Handed(id) => drop(self.handed.remove(&id)),
            RowKey::Worker(id) => drop(self.workers.remove(&id)),
        }
    }

    /// Iterates over the recorded events of a run, in order.
    pub(crate) fn events(&self, run: RunId) -> impl Iterator<Item = Event> {
        self.history.get(&run).into_iter().flatten().flat_map(|batch| batch.events.iter().copied())
    }

    /// Gives the next event of a run, as its history says.
    pub(crate) fn next(&self, run: RunId) -> u8 {
        self.history.get(&run).and_then(|batches| batches.last()).map_or(1, Batch::next)
    }

    /// Counts how often an event is recorded.
    pub(crate) fn count(&self, run: RunId, event: Event) -> usize {
        self.events(run).filter(|recorded| *recorded == event).count()
    }

    /// Tells whether a message has been recorded, whatever event it became.
    pub(crate) fn recorded(&self, run: RunId, message: Message) -> bool {
        self.count(run, message.event()) > 0
    }

    /// Iterates over the messages that wait for a run.
    pub(crate) fn waiting(&self, run: RunId) -> impl Iterator<Item = Message> {
        self.inbox.iter().filter(move |(to, _)| *to == run).map(|(_, message)| *message)
    }
}

impl Batch {
    /// Gives the event that comes after those of the batch.
    pub(crate) fn next(&self) -> u8 {
        self.first + self.events.len() as u8
    }
}

impl Row {
    /// Gives the row of `runs_open`, if this is one.
    pub(crate) fn run(self) -> Option<Run> {
        match self {
            Row::Run(run) => Some(run),
            _ => None,
        }
    }
}

impl Message {
    /// Gives the event that records the message.
    pub(crate) fn event(self) -> Event {
        match self {
            Message::Signal(_) | Message::Terminate => Event::Received(self),
            Message::Completed(activity) => Event::Completed(activity),
            Message::TimerDue(timer) => Event::TimerFired(timer),
        }
    }
}
