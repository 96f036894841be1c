//! Waiting for runs to close: one task for all waits of a process, so that ten thousand cost what ten do.
//!
//! A wait is registered first and looked up once afterwards, so that a run that closes in between is seen by one of the
//! two. From then on the hints of closing flushes wake it, in batches of one query each; closings in this process bring
//! the result along. Hints may be lost: a slow poll goes round all waits and bounds what that costs.
//!
//! A run that this process has just started, and of whose close no hint has told since, needs no look-up: its closing
//! hint is still to come.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Bound,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dacapo_core::{
    RunKey, Store,
    store::{Hint, HintReceiver, RunResult, StoreError, StoreResult},
};
use futures_util::FutureExt;
use tokio::{
    sync::{Notify, oneshot},
    time::{MissedTickBehavior, interval},
};
use tokio_util::task::AbortOnDropHandle;

/// The time between two steps of the slow poll: what a lost hint costs a process with few waits.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The waits that one step of the slow poll looks up; 2,000 primary keys are some 10 ms of the database's time.
const POLL_RUNS_MAX: usize = 2_000;

/// The runs that one query looks up, so that results of some size do not pile up in one answer.
const LOOKUP_RUNS_MAX: usize = 500;

/// The started runs that are remembered until they close or are waited for; beyond that all are forgotten, which costs
/// each later wait one look-up.
const STARTED_RUNS_MAX: usize = 50_000;

type Waiter = oneshot::Sender<StoreResult<RunResult>>;

/// The waits of a process.
#[derive(Debug)]
pub(crate) struct Waits {
    registry: Arc<Registry>,
    _feeder: AbortOnDropHandle<()>,
}

#[derive(Debug, Default)]
struct Waiting {
    runs: BTreeMap<RunKey, Vec<Waiter>>,
    /// Registered, and not looked up since.
    fresh: Vec<RunKey>,
    /// Started here, and not closed as far as the hints since have told.
    started: HashSet<RunKey>,
    /// Where the slow poll goes on.
    polled_up_to: Option<RunKey>,
}

struct Registry {
    store: Arc<dyn Store>,
    waiting: Mutex<Waiting>,
    registered: Notify,
    /// Whether somebody here has waited: a process that only starts runs need not hear of all that close.
    waited: AtomicBool,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("runs", &self.lock().runs.len()).finish_non_exhaustive()
    }
}

impl Waits {
    /// Starts the task that feeds the waits; it ends when the value is dropped.
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        let hints = store.hints();
        let registry = Arc::new(Registry {
            store,
            waiting: Mutex::default(),
            registered: Notify::new(),
            waited: AtomicBool::new(false),
        });
        let feeder = tokio::spawn(feed(Arc::clone(&registry), hints));
        Self { registry, _feeder: AbortOnDropHandle::new(feeder) }
    }

    /// Waits until a run that exists is closed, through any trouble of the database.
    ///
    /// # Errors
    /// [`StoreError`] when the run's end can never be read, or this process's engine is stopped.
    ///
    /// # Cancel safety
    /// Dropping the future gives the wait up, and loses nothing.
    pub(crate) async fn wait(&self, run: RunKey) -> StoreResult<RunResult> {
        let (waiter, result) = oneshot::channel();
        self.registry.register(run, waiter);
        result.await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable { problem: "the engine of this process is stopped".to_owned() })
        })
    }

    /// Takes note of a run that is about to be started here: a wait for it needs no look-up as long as no hint tells of
    /// its close.
    pub(crate) fn starting(&self, run: RunKey) {
        if !self.registry.waited.load(Ordering::Relaxed) || !self.registry.store.hear_closed() {
            return;
        }
        let mut waiting = self.registry.lock();
        if waiting.started.len() >= STARTED_RUNS_MAX {
            waiting.started.clear();
        }
        waiting.started.insert(run);
    }

    /// Takes note that a start did not make this very run now.
    pub(crate) fn not_started(&self, run: RunKey) {
        self.registry.lock().started.remove(&run);
    }

    /// Tells the end of a run that this process closed.
    pub(crate) fn closed(&self, run: RunKey, result: &RunResult) {
        self.registry.resolve(run, &Ok(result.clone()));
    }
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, run: RunKey, waiter: Waiter) {
        if !self.waited.swap(true, Ordering::Relaxed) {
            self.store.hear_closed();
        }
        let mut waiting = self.lock();
        waiting.runs.entry(run).or_default().push(waiter);
        if waiting.started.remove(&run) {
            return;
        }
        waiting.fresh.push(run);
        drop(waiting);
        self.registered.notify_one();
    }

    fn resolve(&self, run: RunKey, result: &StoreResult<RunResult>) {
        let mut waiting = self.lock();
        waiting.started.remove(&run);
        let waiters = waiting.runs.remove(&run).unwrap_or_default();
        drop(waiting);
        for waiter in waiters {
            // Whoever gave up waiting needs no answer.
            let _ = waiter.send(result.clone());
        }
    }

    /// Gives the next runs of the slow poll, round and round, and forgets those that nobody waits for any more.
    fn next_to_poll(&self) -> Vec<RunKey> {
        let mut waiting = self.lock();
        let from = waiting.polled_up_to.map_or(Bound::Unbounded, Bound::Excluded);
        let runs: Vec<RunKey> =
            waiting.runs.range((from, Bound::Unbounded)).take(POLL_RUNS_MAX).map(|(run, _)| *run).collect();
        waiting.polled_up_to = runs.last().copied().filter(|_| runs.len() == POLL_RUNS_MAX);
        runs.into_iter()
            .filter(|run| {
                let Some(waiters) = waiting.runs.get_mut(run) else { return false };
                waiters.retain(|waiter| !waiter.is_closed());
                let wanted = !waiters.is_empty();
                if !wanted {
                    waiting.runs.remove(run);
                }
                wanted
            })
            .collect()
    }

    /// Answers what a hint and those behind it answer, and gives the runs to look up for those who wait.
    fn hinted(&self, first: Hint, hints: &mut HintReceiver) -> Vec<RunKey> {
        let mut next = Some(first);
        let mut runs = Vec::new();
        let mut ended = Vec::new();
        let mut waiting = self.lock();
        while let Some(hint) = next {
            match hint {
                Hint::Ended(ends) => ended.extend(ends),
                Hint::Closed(closed) => {
                    for run in closed {
                        waiting.started.remove(&run);
                        if waiting.runs.contains_key(&run) {
                            runs.push(run);
                        }
                    }
                }
                Hint::Everything => {
                    waiting.started.clear();
                    runs.extend(waiting.runs.keys().copied());
                }
                Hint::RunsReady(_)
                | Hint::ActivitiesReady(_)
                | Hint::Inbox(_)
                | Hint::Outbox
                | Hint::Asked(_)
                | Hint::Handed(_)
                | Hint::Brought(_)
                | Hint::Replaced(_)
                | Hint::Updated(_)
                | Hint::WorkerGone => {}
            }
            next = hints.next().now_or_never();
        }
        drop(waiting);
        for (run, result) in ended {
            self.resolve(run, &Ok(result));
        }
        runs.sort_unstable();
        runs.dedup();
        runs
    }

    /// Looks runs up, and answers the waits for those that are closed. Says whether the database answered.
    async fn look_up(&self, runs: &[RunKey]) -> bool {
        for batch in runs.chunks(LOOKUP_RUNS_MAX) {
            match self.store.results(batch).await {
                Ok(closed) => closed.into_iter().for_each(|(run, result)| self.resolve(run, &Ok(result))),
                Err(StoreError::Unavailable { .. }) => return false,
                // One run that cannot be read must not keep the others of its batch waiting.
                Err(_) => {
                    for run in batch {
                        match self.store.results(&[*run]).await {
                            Ok(closed) => closed.into_iter().for_each(|(run, result)| self.resolve(run, &Ok(result))),
                            Err(StoreError::Unavailable { .. }) => return false,
                            Err(error) => self.resolve(*run, &Err(error)),
                        }
                    }
                }
            }
        }
        true
    }
}

async fn feed(registry: Arc<Registry>, mut hints: HintReceiver) {
    let mut poll = interval(POLL_INTERVAL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_reachable = true;
    loop {
        // Every branch is cancel safe: a hint stays with its receiver, a permit with the `Notify`, a tick is repeated.
        let runs = tokio::select! {
            () = registry.registered.notified() => std::mem::take(&mut registry.lock().fresh),
            hint = hints.next() => registry.hinted(hint, &mut hints),
            _ = poll.tick() => registry.next_to_poll(),
        };
        if runs.is_empty() {
            continue;
        }
        let reachable = registry.look_up(&runs).await;
        if was_reachable && !reachable {
            tracing::warn!(waits = runs.len(), "the database does not answer; waits go on when it does");
        }
        was_reachable = reachable;
    }
}

#[cfg(test)]
mod tests {
    use dacapo_core::{Message, MessageBody, MessageId, Payload, RunStatus, StartWorkflow, store::SendOutcome};
    use uuid::Uuid;

    use super::*;
    use crate::{Engine, memory::MemoryStore};

    async fn started(engine: &Engine, id: &str) -> RunKey {
        let client = engine.client();
        let run_id = crate::Client::new_run_id();
        let request = StartWorkflow::new(run_id, id.into(), "w".into(), "q".into(), Payload::null());
        client.start(request).await.unwrap().run
    }

    async fn closed(store: &dyn Store, run: RunKey) {
        let body = MessageBody::Terminate { reason: "enough".to_owned(), identity: String::new() };
        let message = Message { id: MessageId(Uuid::now_v7()), body };
        assert_eq!(store.terminate(run, message).await.unwrap(), SendOutcome::Accepted);
    }

    #[tokio::test]
    async fn a_wait_ends_whether_the_run_closes_before_or_after() {
        let store = Arc::new(MemoryStore::new());
        let engine = Engine::new(Arc::clone(&store) as _).await.unwrap();
        let before = started(&engine, "before").await;
        closed(&*store, before).await;
        assert_eq!(engine.waits().wait(before).await.unwrap().status, RunStatus::Terminated);
        let after = started(&engine, "after").await;
        let (result, ()) = tokio::join!(engine.waits().wait(after), async {
            tokio::task::yield_now().await;
            closed(&*store, after).await;
        });
        assert_eq!(result.unwrap().status, RunStatus::Terminated);
        assert!(engine.waits().registry.lock().runs.is_empty());
    }

    #[tokio::test]
    async fn a_run_started_here_is_not_looked_up_until_a_hint_tells_of_its_close() {
        let store = Arc::new(MemoryStore::new());
        let engine = Engine::new(Arc::clone(&store) as _).await.unwrap();
        let registry = &engine.waits().registry;
        let first = started(&engine, "first").await;
        closed(&*store, first).await;
        engine.waits().wait(first).await.unwrap();
        let run = started(&engine, "run").await;
        let (waiter, result) = oneshot::channel();
        registry.register(run, waiter);
        assert!(registry.lock().fresh.is_empty());
        closed(&*store, run).await;
        assert_eq!(result.await.unwrap().unwrap().status, RunStatus::Terminated);

        // Closed before anybody waits: the hint comes first, and the wait looks the run up.
        let run = started(&engine, "another").await;
        closed(&*store, run).await;
        while registry.lock().started.contains(&run) {
            tokio::task::yield_now().await;
        }
        assert_eq!(engine.waits().wait(run).await.unwrap().status, RunStatus::Terminated);
    }

    #[tokio::test]
    async fn ten_thousand_waits_end_by_hints() {
        let store = Arc::new(MemoryStore::new());
        let engine = Engine::new(Arc::clone(&store) as _).await.unwrap();
        let mut waits = tokio::task::JoinSet::new();
        let mut runs = Vec::new();
        for number in 0..10_000 {
            let run = started(&engine, &format!("run-{number}")).await;
            runs.push(run);
            let engine = engine.clone();
            waits.spawn(async move { engine.waits().wait(run).await.unwrap().status });
        }
        while engine.waits().registry.lock().runs.len() < runs.len() {
            tokio::task::yield_now().await;
        }
        for run in runs {
            closed(&*store, run).await;
        }
        while let Some(status) = waits.join_next().await {
            assert_eq!(status.unwrap(), RunStatus::Terminated);
        }
    }

    #[tokio::test]
    async fn the_slow_poll_goes_round_and_forgets_waits_that_were_given_up() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let registry =
            Registry { store, waiting: Mutex::default(), registered: Notify::new(), waited: AtomicBool::new(false) };
        let keys: Vec<RunKey> = (0..POLL_RUNS_MAX as u128 + 5)
            .map(|number| RunKey { shard: dacapo_core::Shard(0), run_id: dacapo_core::RunId(Uuid::from_u128(number)) })
            .collect();
        let mut kept = Vec::new();
        for key in &keys {
            let (waiter, result) = oneshot::channel();
            registry.register(*key, waiter);
            kept.push(result);
        }
        assert_eq!(registry.next_to_poll(), keys[..POLL_RUNS_MAX]);
        assert_eq!(registry.next_to_poll(), keys[POLL_RUNS_MAX..]);
        kept.truncate(3);
        assert_eq!(registry.next_to_poll(), keys[..3]);
        assert_eq!(registry.next_to_poll(), []);
        assert_eq!(registry.next_to_poll(), keys[..3]);
        assert_eq!(registry.lock().runs.len(), 3);
    }
}
