//! Hints: what has changed, for this process at once, and for others by datagram or NOTIFY. Lost ones cost time, never work.
//!
//! A flush says here what it changed and calls [`Hints::send`]: this process is told at once, and so are its
//! [`neighbours`], processes of the same machine. The [`notify`] task tells others what has gathered since its last
//! statement, as one, from a connection that no transaction of the write path uses: NOTIFY takes a lock of the whole
//! database at commit, which would end group commit. The [`listen`] task turns what other processes sent into hints here,
//! and holds the presence locks.

pub(crate) mod listen;
#[cfg_attr(not(unix), path = "no_neighbours.rs")]
mod neighbours;
pub(crate) mod notify;
#[cfg(unix)]
mod turns;
mod wire;

#[cfg(not(unix))]
pub(crate) use neighbours::Turn;
#[cfg(unix)]
pub(crate) use turns::Turn;
pub(crate) use wire::{End, brought, notify_brought, transaction_channel};

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use dacapo_core::{
    RunKey, TaskQueue, Timestamp, WorkerId,
    store::{BroughtRun, BroughtStarts, HandedId, Hint, HintBoard, HintReceiver},
};
use sqlx::{PgConnection, Row, postgres::PgConnectOptions};
use tokio::sync::Notify;

use self::neighbours::Neighbours;
use crate::connection;

/// Work that becomes visible later than this is found by the renewal of some lease; sooner, a hint is sent in time.
const LATER_MAX: Duration = Duration::from_secs(10);

/// A channel, and what is said on it.
pub(crate) type Notification = (String, String);

const BACKEND: &str = "SELECT pg_backend_pid() AS pid";

/// Runs of which there is news for other processes that was not sent; beyond, they are told to look at everything.
const BACKLOG_MAX: usize = 20_000;

/// The bytes of the runs of one flush that go along with the news of it; beyond, it is cheaper to read them.
const BROUGHT_BYTES_MAX: usize = 128 * 1024;

/// The bytes of runs that wait to go along; beyond, workers read what is handed to them.
const BROUGHT_BACKLOG_MAX: usize = 4 * BROUGHT_BYTES_MAX;

/// What has changed.
#[derive(Debug, Default)]
struct News {
    runs_ready: BTreeSet<TaskQueue>,
    activities_ready: BTreeSet<TaskQueue>,
    inbox: BTreeMap<WorkerId, Vec<RunKey>>,
    /// Flushes of starts that were handed to workers.
    handed: BTreeMap<WorkerId, BTreeMap<HandedId, HandedNews>>,
    /// The bytes of the runs in them.
    brought_bytes: usize,
    closed: Vec<RunKey>,
    /// Closed runs whose end fits into a hint.
    ended: Vec<(RunKey, End)>,
    worker_gone: bool,
    asked: BTreeMap<WorkerId, Vec<RunKey>>,
    /// Runs whose updates have moved on, or of whose questions one has its answer.
    updated: Vec<RunKey>,
    /// Runs of workers that were ended without their doing.
    replaced: BTreeMap<WorkerId, Vec<RunKey>>,
    /// Rows of the outbox wait; of no concern to other processes, which look for what is left behind.
    outbox: bool,
    everything: bool,
}

/// What a worker is told of a flush of starts that was handed to it: its runs, or nothing but its number.
#[derive(Debug, Default)]
struct HandedNews {
    runs: Vec<BroughtRun>,
    bytes: usize,
}

impl HandedNews {
    /// All runs of a flush; `None` where the worker has to read them.
    fn of(runs: Option<Vec<BroughtRun>>) -> Self {
        let runs = runs.unwrap_or_default();
        let bytes = runs.iter().map(|run| run.events.len()).sum();
        if bytes <= BROUGHT_BYTES_MAX { Self { runs, bytes } } else { Self::default() }
    }

    fn is_by_number(&self) -> bool {
        self.runs.is_empty()
    }
}

/// Something that will be true at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Later {
    RunsReady(TaskQueue),
    ActivitiesReady(TaskQueue),
}

#[derive(Debug, Default)]
struct Shared {
    /// Whether nobody hears what is said here: see [`Hints::unsaid`].
    holds_back: bool,
    board: HintBoard,
    own_workers: Mutex<HashSet<WorkerId>>,
    /// What nobody was told yet.
    news: Mutex<News>,
    /// What will be true at a time.
    later: Mutex<BTreeMap<Timestamp, Vec<Later>>>,
    /// What other processes are to be told.
    outgoing: Mutex<News>,
    /// Wakes the sending task.
    filled: Notify,
    /// Rung when a transaction of a user's that wrote through this process has committed, or may have.
    committed: Notify,
    /// Since when this process listens, while it does.
    listens_since: Mutex<Option<Instant>>,
    /// Whether this process hears of runs that others close.
    hears_closed: AtomicBool,
    /// The database's clock minus this machine's, in microseconds.
    clock_offset: AtomicI64,
    /// The server processes whose notifications this process does not need: it sent them.
    own_backends: Mutex<HashSet<u32>>,
    neighbours: Neighbours,
}

/// A connection on which this process notifies others. While it lives, this process does not listen to it.
#[derive(Debug)]
pub(crate) struct Speaker {
    pub(crate) connection: PgConnection,
    _muted: Muted,
}

#[derive(Debug)]
struct Muted {
    hints: Hints,
    backend: u32,
}

impl Drop for Muted {
    fn drop(&mut self) {
        lock(&self.hints.shared.own_backends).remove(&self.backend);
    }
}

/// Where the store says what has changed. Cloning gives another handle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hints {
    shared: Arc<Shared>,
}

impl Hints {
    /// Opens a connection on which this process may notify others.
    pub(crate) async fn speaker(&self, options: &PgConnectOptions) -> Result<Speaker, sqlx::Error> {
        let mut connection = connection::open(options).await?;
        let row = sqlx::query(BACKEND).fetch_one(&mut connection).await?;
        let backend = row.try_get::<i32, _>("pid")? as u32;
        lock(&self.shared.own_backends).insert(backend);
        Ok(Speaker { connection, _muted: Muted { hints: self.clone(), backend } })
    }

    /// Says whether a server process sends what this process says.
    fn is_own(&self, backend: u32) -> bool {
        lock(&self.shared.own_backends).contains(&backend)
    }

    /// Subscribes to hints of this process and of others.
    pub(crate) fn subscribe(&self) -> HintReceiver {
        self.shared.board.subscribe()
    }

    /// What other processes are to hear of a queue on which a run waits.
    pub(crate) fn say_runs_ready(queue: &TaskQueue) -> Notification {
        wire::notification(&News { runs_ready: [queue.clone()].into(), ..News::default() })
    }

    /// Tells this process only of a start that was handed to a worker by itself.
    pub(crate) fn handed_here(&self, worker: WorkerId, handed: HandedId, run: Option<BroughtRun>) {
        let mut news = News::default();
        news.handed(worker, handed, HandedNews::of(run.map(|run| vec![run])));
        self.tell_here(&news);
    }

    /// What other processes are to hear of a run that closed, with its end where that fits in.
    pub(crate) fn say_closed(run: RunKey, end: Option<End>) -> Notification {
        wire::notification(&News::of_closed(run, end))
    }

    /// Tells this process only that a run closed.
    pub(crate) fn closed_here(&self, run: RunKey, end: Option<End>) {
        self.tell_here(&News::of_closed(run, end));
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

    /// Notes whether this process hears of runs that others close.
    pub(crate) fn set_hears_closed(&self, hears: bool) {
        self.shared.hears_closed.store(hears, Ordering::Release);
    }

    /// Says whether all who wait for runs hear of them without a NOTIFY.
    pub(crate) fn reach_all_who_wait(&self) -> bool {
        self.shared.neighbours.reach_all_who_wait()
    }

    /// Says whether a worker hears what is handed to it without a NOTIFY.
    pub(crate) fn reach(&self, worker: WorkerId) -> bool {
        lock(&self.shared.own_workers).contains(&worker) || self.shared.neighbours.reach(worker)
    }

    /// Waits for the turn of this process to flush much, among the processes of this machine; nothing where there are no
    /// others, or it does not come in time. A process has one at a time.
    pub(crate) async fn turn(&self) -> Option<Turn> {
        self.shared.neighbours.turn().await
    }

    /// Says whether this process hears of runs that others close.
    pub(crate) fn hears_closed(&self) -> bool {
        self.shared.hears_closed.load(Ordering::Acquire)
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
            lock(&self.shared.news).add(what);
        } else if visible_at.since(now) <= LATER_MAX {
            let mut later = lock(&self.shared.later);
            let same_time = later.entry(visible_at).or_default();
            if !same_time.contains(&what) {
                same_time.push(what);
            }
        }
    }

    /// Messages wait for a run of a worker's.
    pub(crate) fn inbox(&self, owner: WorkerId, run: RunKey) {
        lock(&self.shared.news).inbox.entry(owner).or_default().push(run);
    }

    /// Starts were handed to a worker. With all runs of the flush, it need not read them.
    pub(crate) fn handed(&self, worker: WorkerId, handed: HandedId, runs: Option<Vec<BroughtRun>>) {
        lock(&self.shared.news).handed(worker, handed, HandedNews::of(runs));
    }

    /// A run closed.
    pub(crate) fn closed(&self, run: RunKey) {
        lock(&self.shared.news).closed.push(run);
    }

    /// A run ended in a way that can be told in full.
    pub(crate) fn ended(&self, run: RunKey, end: End) {
        lock(&self.shared.news).ended.push((run, end));
    }

    /// A question waits for a run of a worker's.
    pub(crate) fn asked(&self, owner: WorkerId, run: RunKey) {
        lock(&self.shared.news).asked.entry(owner).or_default().push(run);
    }

    /// A run of a worker's was ended without its doing.
    pub(crate) fn replaced(&self, owner: WorkerId, run: RunKey) {
        lock(&self.shared.news).replaced.entry(owner).or_default().push(run);
    }

    /// Updates of a run have moved on, or a question to it has its answer.
    pub(crate) fn updated(&self, run: RunKey) {
        lock(&self.shared.news).updated.push(run);
    }

    /// A transaction of a user's has committed, or may have while nobody listened.
    pub(crate) fn transaction_committed(&self) {
        self.shared.committed.notify_one();
    }

    /// Waits until a transaction of a user's has committed.
    pub(crate) async fn committed(&self) {
        self.shared.committed.notified().await;
    }

    /// This process has written rows of the outbox.
    pub(crate) fn outbox(&self) {
        lock(&self.shared.news).outbox = true;
    }

    /// A worker left or died.
    pub(crate) fn worker_gone(&self) {
        lock(&self.shared.news).worker_gone = true;
    }

    /// A pad for what a transaction under way changes: nobody hears of it before [`Hints::say`].
    pub(crate) fn unsaid(&self) -> Self {
        let clock_offset = AtomicI64::new(self.shared.clock_offset.load(Ordering::Relaxed));
        Self { shared: Arc::new(Shared { holds_back: true, clock_offset, ..Shared::default() }) }
    }

    /// Says what stands on a pad, with the next [`Hints::send`].
    pub(crate) fn say(&self, unsaid: &Self) {
        lock(&self.shared.news).merge(mem::take(&mut *lock(&unsaid.shared.news)));
        for (at, whats) in mem::take(&mut *lock(&unsaid.shared.later)) {
            whats.into_iter().for_each(|what| self.ready(at, what));
        }
    }

    /// Tells this process what was said since the last time, and lets the sending task tell others.
    pub(crate) fn send(&self) {
        if self.shared.holds_back {
            return;
        }
        let mut news = mem::take(&mut *lock(&self.shared.news));
        if !news.is_empty() {
            let own = self.own_workers();
            self.tell(&own, &news);
            for worker in own {
                news.take_worker(worker);
            }
            self.shared.neighbours.tell(&mut news);
            lock(&self.shared.outgoing).merge(news);
        }
        self.shared.filled.notify_one();
    }

    /// Says what has become true by now, and gives the wait until something else will.
    fn ripen(&self) -> Option<Duration> {
        let now = self.now();
        let mut later = lock(&self.shared.later);
        let mut ripe = Vec::new();
        while let Some(entry) = later.first_entry().filter(|entry| *entry.key() <= now) {
            ripe.extend(entry.remove());
        }
        let wait = later.first_key_value().map(|(at, _)| at.since(now));
        drop(later);
        if !ripe.is_empty() {
            let mut news = lock(&self.shared.news);
            ripe.into_iter().for_each(|what| news.add(what));
            drop(news);
            self.send();
        }
        wait
    }

    fn tell_here(&self, news: &News) {
        self.tell(&self.own_workers(), news);
    }

    /// Tells this process, of whose workers are these.
    fn tell(&self, own: &[WorkerId], news: &News) {
        for queue in &news.runs_ready {
            self.publish_here(&Hint::RunsReady(queue.clone()));
        }
        for queue in &news.activities_ready {
            self.publish_here(&Hint::ActivitiesReady(queue.clone()));
        }
        let inbox: Vec<RunKey> = own.iter().filter_map(|worker| news.inbox.get(worker)).flatten().copied().collect();
        if !inbox.is_empty() {
            self.publish_here(&Hint::Inbox(inbox));
        }
        let mut by_number: Vec<HandedId> = Vec::new();
        for (worker, flushes) in own.iter().filter_map(|worker| Some((worker, news.handed.get(worker)?))) {
            for (handed, flush) in flushes {
                if flush.is_by_number() {
                    by_number.push(*handed);
                    continue;
                }
                let (worker, handed, of, runs) = (*worker, *handed, flush.runs.len(), flush.runs.clone());
                self.publish_here(&Hint::Brought(Arc::new(BroughtStarts { worker, handed, of, runs })));
            }
        }
        if !by_number.is_empty() {
            self.publish_here(&Hint::Handed(by_number));
        }
        if !news.closed.is_empty() {
            self.publish_here(&Hint::Closed(news.closed.clone()));
        }
        if !news.ended.is_empty() {
            self.publish_here(&Hint::Ended(news.ended.iter().map(|(run, end)| (*run, end.result())).collect()));
        }
        let asked: Vec<RunKey> = own.iter().filter_map(|worker| news.asked.get(worker)).flatten().copied().collect();
        if !asked.is_empty() {
            self.publish_here(&Hint::Asked(asked));
        }
        let of_own = |worker| news.replaced.get(worker);
        let replaced: Vec<RunKey> = own.iter().filter_map(of_own).flatten().copied().collect();
        if !replaced.is_empty() {
            self.publish_here(&Hint::Replaced(replaced));
        }
        if !news.updated.is_empty() {
            self.publish_here(&Hint::Updated(news.updated.clone()));
        }
        if news.outbox {
            self.publish_here(&Hint::Outbox);
        }
        if news.worker_gone {
            self.publish_here(&Hint::WorkerGone);
        }
    }
}

impl News {
    fn of_closed(run: RunKey, end: Option<End>) -> Self {
        match end {
            Some(end) => Self { ended: vec![(run, end)], ..Self::default() },
            None => Self { closed: vec![run], ..Self::default() },
        }
    }

    fn handed(&mut self, worker: WorkerId, handed: HandedId, flush: HandedNews) {
        self.handed.entry(worker).or_default().insert(handed, flush);
    }

    fn add(&mut self, what: Later) {
        match what {
            Later::RunsReady(queue) => self.runs_ready.insert(queue),
            Later::ActivitiesReady(queue) => self.activities_ready.insert(queue),
        };
    }

    fn is_empty(&self) -> bool {
        self.runs_ready.is_empty()
            && self.activities_ready.is_empty()
            && self.inbox.is_empty()
            && self.handed.is_empty()
            && self.closed.is_empty()
            && self.ended.is_empty()
            && !self.worker_gone
            && !self.outbox
            && self.updated.is_empty()
            && self.asked.is_empty()
            && self.replaced.is_empty()
            && !self.everything
    }

    /// The workers that are told something.
    fn workers(&self) -> BTreeSet<WorkerId> {
        let handed = self.handed.keys();
        self.inbox.keys().chain(self.asked.keys()).chain(self.replaced.keys()).chain(handed).copied().collect()
    }

    /// Takes what concerns one worker.
    fn take_worker(&mut self, worker: WorkerId) -> Self {
        let mut taken = Self::default();
        taken.inbox.extend(self.inbox.remove_entry(&worker));
        taken.asked.extend(self.asked.remove_entry(&worker));
        taken.replaced.extend(self.replaced.remove_entry(&worker));
        taken.handed.extend(self.handed.remove_entry(&worker));
        taken
    }

    /// Takes each flush of starts apart from the others, and from everything else.
    fn by_flush(mut self) -> Vec<Self> {
        let flushes = mem::take(&mut self.handed).into_iter().flat_map(|(worker, flushes)| {
            flushes.into_iter().map(move |(handed, flush)| {
                let mut of_flush = Self::default();
                of_flush.handed(worker, handed, flush);
                of_flush
            })
        });
        let mut parts: Vec<Self> = flushes.collect();
        parts.extend((!self.is_empty()).then_some(self));
        parts
    }

    /// Whether there is news of runs for those who wait for them.
    fn tells_of_runs(&self) -> bool {
        !(self.closed.is_empty() && self.ended.is_empty() && self.updated.is_empty())
    }

    /// Takes the news of runs for those who wait for them.
    fn take_of_runs(&mut self) -> Self {
        let (closed, ended, updated) =
            (mem::take(&mut self.closed), mem::take(&mut self.ended), mem::take(&mut self.updated));
        Self { closed, ended, updated, ..Self::default() }
    }

    /// Adds later news; too many runs become a call to look at everything.
    fn merge(&mut self, news: Self) {
        self.runs_ready.extend(news.runs_ready);
        self.activities_ready.extend(news.activities_ready);
        for (worker, runs) in news.inbox {
            self.inbox.entry(worker).or_default().extend(runs);
        }
        for (worker, flushes) in news.handed {
            for (handed, mut flush) in flushes {
                if self.brought_bytes + flush.bytes > BROUGHT_BACKLOG_MAX {
                    flush = HandedNews::default();
                }
                self.brought_bytes += flush.bytes;
                self.handed(worker, handed, flush);
            }
        }
        for (worker, runs) in news.asked {
            self.asked.entry(worker).or_default().extend(runs);
        }
        for (worker, runs) in news.replaced {
            self.replaced.entry(worker).or_default().extend(runs);
        }
        self.closed.extend(news.closed);
        self.updated.extend(news.updated);
        self.ended.extend(news.ended);
        self.worker_gone |= news.worker_gone;
        self.outbox |= news.outbox;
        self.everything |= news.everything;
        if self.closed.len() + self.ended.len() + self.updated.len() > BACKLOG_MAX {
            self.closed.clear();
            self.ended.clear();
            self.updated.clear();
            self.everything = true;
        }
    }
}

fn machine_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
