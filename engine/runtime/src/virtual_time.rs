//! Time that stands still until somebody moves it, and the question when it may be moved: when nothing else can happen.
//!
//! It belongs to an engine on a [`MemoryStore`] with a clock of its own, in one process with its workers. Whether the
//! engine is at rest follows from what it has in its hands, not from messages counted on their way: no owner has
//! something to do, every attempt waits for the clock, nothing that a worker could take waits in the store or is on its
//! way to who took it, and no call of a client is under way. Each of these is read under its own lock; steps that were
//! made meanwhile show in a count, and make the answer no.
//!
//! Deliberately absent: the decision to move it, which is the test environment's.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use dacapo_core::{ActivityId, RunKey, Timestamp};
use tokio::sync::{Notify, oneshot};

use crate::{
    client::{SentUpdate, UpdateWait},
    memory::MemoryStore,
    owner::{Context, Owners, ToOwner},
};

/// Which attempt waits for the clock.
pub(crate) type AttemptKey = (RunKey, ActivityId, u32);

/// The looks in a row that must find the engine at rest. Between two, every task of the runtime that has something to
/// do is polled once.
const LOOKS_AT_REST: u32 = 8;

/// The longest wait between two looks at an engine that has something to do.
const LOOK: Duration = Duration::from_millis(1);

/// The time of an engine in a test. Cloning gives another handle on the same time.
#[derive(Clone)]
pub struct VirtualTime(Arc<Shared>);

struct Shared {
    store: Arc<MemoryStore>,
    members: Mutex<Vec<Member>>,
    sleepers: Mutex<BTreeMap<u64, Sleeper>>,
    waits: Mutex<BTreeMap<u64, Wait>>,
    numbers: AtomicU64,
    calls: AtomicUsize,
    moved: Notify,
    stirred: Notify,
}

/// What a client waits for, however long it takes.
#[derive(Debug, Clone)]
pub(crate) enum Awaited {
    /// The end of a run.
    End(RunKey),
    /// An update.
    Update {
        /// Which one.
        sent: SentUpdate,
        /// How far.
        wait: UpdateWait,
    },
}

impl Awaited {
    fn run(&self) -> RunKey {
        match self {
            Self::End(run) => *run,
            Self::Update { sent, .. } => sent.run,
        }
    }
}

#[derive(Debug)]
struct Wait {
    awaited: Awaited,
    given_up: oneshot::Sender<String>,
    /// Since when it could have ended, in real time.
    over_since: Option<Instant>,
}

/// The real time that whoever waits has for seeing that the wait is over; then it is taken for one that is not polled.
const SEEN_WITHIN: Duration = Duration::from_millis(100);

/// A worker of the process.
struct Member {
    context: Weak<Context>,
    owners: Owners,
}

#[derive(Debug)]
struct Sleeper {
    until: Timestamp,
    /// The attempt whose code waits; without one it is the engine's own wait.
    attempt: Option<AttemptKey>,
    /// Whether the attempt was told to stop and waits all the same.
    told: bool,
}

impl std::fmt::Debug for VirtualTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VirtualTime").field("now", &self.now()).finish_non_exhaustive()
    }
}

impl VirtualTime {
    pub(crate) fn new(store: Arc<MemoryStore>) -> Self {
        Self(Arc::new(Shared {
            store,
            members: Mutex::default(),
            sleepers: Mutex::default(),
            waits: Mutex::default(),
            numbers: AtomicU64::new(0),
            calls: AtomicUsize::new(0),
            moved: Notify::new(),
            stirred: Notify::new(),
        }))
    }

    /// Gives the time.
    pub fn now(&self) -> Timestamp {
        self.0.store.now()
    }

    /// Waits until nothing can happen any more unless time moves or somebody outside of the engine does something.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn at_rest(&self) {
        let mut rests = 0;
        while rests < LOOKS_AT_REST {
            if self.is_at_rest() {
                rests += 1;
                tokio::task::yield_now().await;
            } else {
                rests = 0;
                let _ = tokio::time::timeout(LOOK, self.0.stirred.notified()).await;
            }
        }
    }

    /// Gives when the engine has something to do next, if only time brings it.
    pub fn next_due_at(&self) -> Option<Timestamp> {
        let now = self.now();
        let attempts = lock(&self.0.sleepers);
        let sleepers = attempts.values().map(|sleeper| sleeper.until).filter(|at| *at > now && *at < Timestamp::MAX);
        let members = lock(&self.0.members);
        let owners = members.iter().filter_map(|member| member.owners.next_due_at(now));
        sleepers.chain(owners).chain(self.0.store.next_due_at()).min()
    }

    /// Moves the time on to `at` and wakes whoever waits for it; an earlier time changes nothing.
    pub fn advance_to(&self, at: Timestamp) {
        self.0.store.advance(at.since(self.now()));
        for member in lock(&self.0.members).iter() {
            member.owners.tell_all(|| ToOwner::Look);
        }
        self.0.moved.notify_waiters();
    }

    /// Gives the runs of which somebody waits for something, such as their end, that has not happened.
    pub fn awaited(&self) -> Vec<RunKey> {
        let waits = lock(&self.0.waits);
        let open = waits.values().filter(|wait| !self.0.store.has_happened(&wait.awaited));
        open.map(|wait| wait.awaited.run()).collect()
    }

    /// Ends the waits for a run, which nothing else will: they say why.
    pub fn give_up(&self, run: RunKey, problem: &str) {
        let mut waits = lock(&self.0.waits);
        let numbers: Vec<u64> =
            waits.iter().filter(|(_, wait)| wait.awaited.run() == run).map(|(number, _)| *number).collect();
        for wait in numbers.iter().filter_map(|number| waits.remove(number)) {
            // Whoever waited may have gone.
            let _ = wait.given_up.send(problem.to_owned());
        }
    }

    /// Waits until somebody may have come to rest, or waits for something new.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub async fn stirred(&self) {
        self.0.stirred.notified().await;
    }

    /// Lets whoever awaits [`VirtualTime::stirred`] look again.
    pub fn stir(&self) {
        self.0.stirred.notify_one();
    }

    /// Gives the runs whose workflow task fails.
    pub fn failing(&self) -> Vec<RunKey> {
        lock(&self.0.members).iter().flat_map(|member| member.owners.failing()).collect()
    }

    /// Gives the store.
    pub fn store(&self) -> &Arc<MemoryStore> {
        &self.0.store
    }

    /// Waits for a time on behalf of an attempt.
    pub(crate) fn sleep_of(&self, attempt: Option<AttemptKey>, until: Timestamp) -> VirtualSleep {
        let number = self.0.numbers.fetch_add(1, Ordering::Relaxed);
        lock(&self.0.sleepers).insert(number, Sleeper { until, attempt, told: false });
        VirtualSleep { time: self.clone(), number, until }
    }

    /// Takes note that somebody waits for something.
    pub(crate) fn wait_for(&self, awaited: Awaited) -> (Waiting, oneshot::Receiver<String>) {
        let number = self.0.numbers.fetch_add(1, Ordering::Relaxed);
        let (sender, given_up) = oneshot::channel();
        lock(&self.0.waits).insert(number, Wait { awaited, given_up: sender, over_since: None });
        self.stir();
        (Waiting { time: self.clone(), number }, given_up)
    }

    /// Takes note that a client's call is under way.
    pub(crate) fn call(&self) -> Call {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        Call(self.clone())
    }

    /// Takes a worker in.
    pub(crate) fn join(&self, context: &Arc<Context>, owners: &Owners) {
        lock(&self.0.members).push(Member { context: Arc::downgrade(context), owners: owners.clone() });
    }

    /// Lets a worker go.
    pub(crate) fn leave(&self, context: &Arc<Context>) {
        lock(&self.0.members).retain(|member| !std::ptr::eq(member.context.as_ptr(), Arc::as_ptr(context)));
    }

    /// Whether whoever waits for something that has happened is about to see it.
    fn somebody_is_answered(&self) -> bool {
        let mut waits = lock(&self.0.waits);
        let mut over = waits.values_mut().filter(|wait| self.0.store.has_happened(&wait.awaited));
        over.any(|wait| wait.over_since.get_or_insert_with(Instant::now).elapsed() < SEEN_WITHIN)
    }

    /// Whether nothing can happen any more at this moment: one look, where [`VirtualTime::at_rest`] also lets everybody
    /// act who has been woken. It sees all that was begun before it.
    pub fn is_at_rest(&self) -> bool {
        let now = self.now();
        if self.somebody_is_answered() {
            return false;
        }
        let members = lock(&self.0.members);
        let waiting = members.iter().flat_map(|member| member.owners.waiting_requests()).collect();
        let known = members.iter().flat_map(|member| member.owners.owned_runs()).map(|(run, _)| run).collect();
        let steps = || members.iter().map(|member| member.owners.steps()).sum::<u64>();
        let before = steps();
        let at_rest = self.0.calls.load(Ordering::SeqCst) == 0
            && lock(&self.0.sleepers).values().all(|sleeper| sleeper.until > now)
            && members.iter().all(|member| self.attempts_wait(member) && member.owners.is_at_rest(now))
            && self.0.store.is_at_rest(
                |run, activity_id| {
                    let contexts = members.iter().filter_map(|member| member.context.upgrade());
                    contexts.into_iter().any(|it| it.pool.runs(run, activity_id))
                },
                &waiting,
                &known,
            );
        at_rest && steps() == before
    }

    /// Whether every attempt of a worker waits for the clock and for nothing else.
    fn attempts_wait(&self, member: &Member) -> bool {
        let Some(context) = member.context.upgrade() else { return true };
        let running = context.pool.attempts();
        let sleepers = lock(&self.0.sleepers);
        running.into_iter().all(|(attempt, canceled)| {
            sleepers.values().any(|sleeper| sleeper.attempt == Some(attempt) && (!canceled || sleeper.told))
        })
    }
}

/// A wait for the clock.
pub(crate) struct VirtualSleep {
    time: VirtualTime,
    number: u64,
    until: Timestamp,
}

impl VirtualSleep {
    /// Waits until the time has come.
    ///
    /// # Cancel safety
    /// It can be called again.
    pub(crate) async fn elapsed(&self) {
        loop {
            let mut moved = std::pin::pin!(self.time.0.moved.notified());
            // Registered before the look, so that a move in between is not missed.
            moved.as_mut().enable();
            if self.time.now() >= self.until {
                return;
            }
            moved.await;
        }
    }

    /// Takes note that the attempt was told to stop and goes on waiting.
    pub(crate) fn told(&self) {
        if let Some(sleeper) = lock(&self.time.0.sleepers).get_mut(&self.number) {
            sleeper.told = true;
        }
        self.time.stir();
    }
}

impl Drop for VirtualSleep {
    fn drop(&mut self) {
        lock(&self.time.0.sleepers).remove(&self.number);
        self.time.stir();
    }
}

/// Somebody waits for something.
pub(crate) struct Waiting {
    time: VirtualTime,
    number: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        lock(&self.time.0.waits).remove(&self.number);
        self.time.stir();
    }
}

/// A call of a client is under way.
pub(crate) struct Call(VirtualTime);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.0.calls.fetch_sub(1, Ordering::SeqCst);
        self.0.stir();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
