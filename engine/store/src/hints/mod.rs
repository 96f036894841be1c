//! Hints: what has changed, for this process at once and for others by NOTIFY. Lost ones cost time, never work.
//!
//! A flush says here what it changed and goes on. The [`notify`] task sends what has gathered since its last statement
//! as one, from a connection that no transaction of the write path uses: NOTIFY takes a lock of the whole database at
//! commit, which would end group commit. The [`listen`] task turns what other processes sent into hints here, and holds
//! the presence locks.

pub(crate) mod listen;
pub(crate) mod notify;
mod wire;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use dacapo_core::{
    RunKey, TaskQueue, Timestamp, WorkerId,
    store::{Hint, HintBoard, HintReceiver},
};
use tokio::sync::Notify;

/// Work that becomes visible later than this is found by the renewal of some lease; sooner, a hint is sent in time.
const LATER_MAX: Duration = Duration::from_secs(10);

/// Closed runs that may wait to be told to other processes; beyond, they are told to look at everything.
const CLOSED_BACKLOG_MAX: usize = 20_000;

/// What other processes are to be told.
#[derive(Debug, Default)]
struct Outgoing {
    runs_ready: BTreeSet<TaskQueue>,
    activities_ready: BTreeSet<TaskQueue>,
    inbox: BTreeMap<WorkerId, Vec<RunKey>>,
    closed: Vec<RunKey>,
    worker_gone: bool,
    everything: bool,
    later: BTreeMap<Timestamp, Vec<Later>>,
}

/// Something that will be true at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Later {
    RunsReady(TaskQueue),
    ActivitiesReady(TaskQueue),
}

#[derive(Debug, Default)]
struct Shared {
    board: HintBoard,
    own_workers: Mutex<HashSet<WorkerId>>,
    outgoing: Mutex<Outgoing>,
    filled: Notify,
    /// Since when this process listens, while it does.
    listens_since: Mutex<Option<Instant>>,
    /// The database's clock minus this machine's, in microseconds.
    clock_offset: AtomicI64,
}

/// Where the store says what has changed. Cloning gives another handle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hints {
    shared: Arc<Shared>,
}

impl Hints {
    /// Subscribes to hints of this process and of others.
    pub(crate) fn subscribe(&self) -> HintReceiver {
        self.shared.board.subscribe()
    }

    /// Tells this process only.
    pub(crate) fn publish_here(&self, hint: &Hint) {
        self.shared.board.publish(hint);
    }

    /// Notes which workers live in this process: their messages need no NOTIFY.
    pub(crate) fn add_worker(&self, worker: WorkerId) {
        lock(&self.shared.own_workers).insert(worker);
    }

    /// Forgets a worker of this process.
    pub(crate) fn remove_worker(&self, worker: WorkerId) {
        lock(&self.shared.own_workers).remove(&worker);
    }

    /// The workers of this process.
    pub(crate) fn own_workers(&self) -> Vec<WorkerId> {
        lock(&self.shared.own_workers).iter().copied().collect()
    }

    /// Notes that this process listens from now on, or does not any more.
    pub(crate) fn set_listening(&self, listens: bool) {
        *lock(&self.shared.listens_since) = listens.then(Instant::now);
    }

    /// Says whether this process has listened without a break for some time.
    pub(crate) fn listens_for(&self, time: Duration) -> bool {
        lock(&self.shared.listens_since).is_some_and(|since| since.elapsed() >= time)
    }

    /// Takes note of the database's clock.
    pub(crate) fn set_clock(&self, database_now: Timestamp) {
        self.shared.clock_offset.store(database_now.0 - machine_now(), Ordering::Relaxed);
    }

    /// Estimates the database's clock.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(machine_now() + self.shared.clock_offset.load(Ordering::Relaxed))
    }

    /// Runs wait on a queue, now or from a time on.
    pub(crate) fn runs_ready(&self, queue: &TaskQueue, visible_at: Timestamp) {
        self.ready(visible_at, Later::RunsReady(queue.clone()));
    }

    /// Activities wait on a queue, now or from a time on.
    pub(crate) fn activities_ready(&self, queue: &TaskQueue, visible_at: Timestamp) {
        self.ready(visible_at, Later::ActivitiesReady(queue.clone()));
    }

    fn ready(&self, visible_at: Timestamp, what: Later) {
        let now = self.now();
        if visible_at <= now {
            lock(&self.shared.outgoing).add(what);
        } else if visible_at.since(now) <= LATER_MAX {
            let mut outgoing = lock(&self.shared.outgoing);
            let same_time = outgoing.later.entry(visible_at).or_default();
            if !same_time.contains(&what) {
                same_time.push(what);
            }
        }
    }

    /// Messages wait for a run of a worker's.
    pub(crate) fn inbox(&self, owner: WorkerId, run: RunKey) {
        let mut outgoing = lock(&self.shared.outgoing);
        outgoing.inbox.entry(owner).or_default().push(run);
    }

    /// A run closed.
    pub(crate) fn closed(&self, run: RunKey) {
        let mut outgoing = lock(&self.shared.outgoing);
        if outgoing.closed.len() < CLOSED_BACKLOG_MAX {
            outgoing.closed.push(run);
        } else {
            outgoing.closed.clear();
            outgoing.everything = true;
        }
    }

    /// A worker left or died.
    pub(crate) fn worker_gone(&self) {
        lock(&self.shared.outgoing).worker_gone = true;
    }

    /// Lets the sending task look at what was said since the last time.
    pub(crate) fn send(&self) {
        self.shared.filled.notify_one();
    }
}

impl Outgoing {
    fn add(&mut self, what: Later) {
        match what {
            Later::RunsReady(queue) => self.runs_ready.insert(queue),
            Later::ActivitiesReady(queue) => self.activities_ready.insert(queue),
        };
    }
}

fn machine_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
