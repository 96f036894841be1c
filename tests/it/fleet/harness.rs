//! A fleet under test: its database, its worker processes, a client, and the checks that every test ends with.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use dacapo::{
    Client, Engine, PgStore, WorkflowHandle,
    core::{ActivityId, Event, EventKind, Store, store::WorkerInfo},
};
use dacapo_devpg::Cluster;
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    database::{Database, Server},
    process::WorkerChild,
    worker::{Serves, Settings},
};

/// The queue of runs.
pub(crate) const QUEUE: &str = "fleet";

/// How long something may take that takes a second or two on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The fleets that run at once, so that the processes of a few do not starve each other of processors.
static TURNS: Semaphore = Semaphore::const_new(2);

/// A database, worker processes and a client.
pub(crate) struct Fleet {
    pub(crate) database: Database,
    pub(crate) store: Arc<PgStore>,
    pub(crate) engine: Engine,
    pub(crate) client: Client,
    pub(crate) workers: Vec<WorkerChild>,
    made: usize,
    folder: TempDir,
    _turn: SemaphorePermit<'static>,
}

impl Fleet {
    /// A fleet without workers on the server of all tests.
    pub(crate) async fn on_shared_server() -> Self {
        let turn = TURNS.acquire().await.unwrap();
        let cluster = tokio::task::spawn_blocking(|| Cluster::shared_for_tests().unwrap()).await.unwrap();
        Self::on(Server::Shared(cluster), turn).await
    }

    /// A fleet without workers on a server that may be killed.
    pub(crate) async fn on_own_server() -> Self {
        let turn = TURNS.acquire().await.unwrap();
        let cluster = tokio::task::spawn_blocking(|| Cluster::temporary().unwrap()).await.unwrap();
        Self::on(Server::Own(Arc::new(cluster)), turn).await
    }

    async fn on(server: Server, turn: SemaphorePermit<'static>) -> Self {
        let database = Database::create(server).await;
        let store = database.store().await;
        let engine = Engine::new(Arc::clone(&store) as _).await.unwrap();
        let client = Client::new(&engine).task_queue(QUEUE);
        let folder = tempfile::Builder::new().prefix("dacapo-fleet-").tempdir().unwrap();
        Self { database, store, engine, client, workers: Vec::new(), made: 0, folder, _turn: turn }
    }

    /// Starts a worker process, without waiting until it serves.
    pub(crate) fn spawn(&mut self, change: impl FnOnce(&mut Settings)) -> &mut WorkerChild {
        self.made += 1;
        let identity = format!("w{}", self.made);
        let mut settings = Settings {
            url: self.database.url.clone(),
            metrics: self.folder.path().join(&identity).with_extension("metrics"),
            identity,
            queue: QUEUE.to_owned(),
            serves: Serves::Everything,
            lease: None,
            lease_renewal: None,
            cached_runs: None,
            concurrent_activities: None,
            workflow_threads: None,
            buggy: false,
            workflow_task_timeout: None,
        };
        change(&mut settings);
        self.workers.push(WorkerChild::spawn(settings));
        self.workers.last_mut().unwrap()
    }

    /// Starts a worker process and waits until it is a member of the fleet. Gives its place among the workers.
    pub(crate) async fn worker(&mut self, change: impl FnOnce(&mut Settings)) -> usize {
        self.spawn(change);
        let at = self.workers.len() - 1;
        let identity = self.workers[at].identity().to_owned();
        eventually("the worker joins", PATIENCE, async || self.member(&identity).await).await;
        at
    }

    /// The registration of a worker that lives.
    pub(crate) async fn member(&self, identity: &str) -> Option<WorkerInfo> {
        let fleet = self.client.untyped().workers().await.unwrap();
        fleet.into_iter().find(|worker| worker.identity == identity)
    }

    /// Kills the worker at a place and forgets it.
    pub(crate) fn kill(&mut self, at: usize) {
        let mut worker = self.workers.remove(at);
        worker.kill();
    }

    /// Which worker owns a run, by identity.
    pub(crate) async fn owner<R>(&self, run: &WorkflowHandle<R>) -> Option<String> {
        run.describe().await.unwrap().owner.map(|worker| worker.identity)
    }

    /// Compares the history of a run with what its activities did: one outcome for each call, of an attempt that took
    /// place, and no attempt that took place twice.
    pub(crate) async fn check_effects<'a, R: 'a>(&self, runs: impl IntoIterator<Item = &'a WorkflowHandle<R>>) {
        let effects = self.database.effects().await;
        for run in runs {
            for outcome in outcomes(&run.history().await.unwrap()) {
                let key = format!("{}/{}/{}", run.workflow_id(), run.run_id().unwrap(), outcome.activity_id);
                let Some(done) = effects.get(&key) else { panic!("activity {key} has an outcome and no effect") };
                let attempts: HashSet<i32> = done.iter().map(|effect| effect.attempt).collect();
                assert_eq!(attempts.len(), done.len(), "an attempt of {key} took place twice: {done:?}");
                let recorded = i32::try_from(outcome.attempt).unwrap();
                assert!(attempts.contains(&recorded), "{key} records attempt {recorded}, which did nothing: {done:?}");
            }
        }
    }

    /// Stops the workers as an operator would, and checks every invariant.
    pub(crate) async fn finish(mut self) {
        for worker in &self.workers {
            worker.signal(nix::sys::signal::Signal::SIGTERM);
        }
        for worker in &mut self.workers {
            let status = worker.wait(PATIENCE).await;
            assert!(status.success(), "{} ended with {status}\n{}", worker.identity(), worker.log_end());
        }
        let violations = self.store.verify().await.unwrap();
        assert!(violations.is_empty(), "{violations:#?}");
        assert_eq!(self.store.sweep().await.unwrap(), [], "the sweeper found what should be impossible");
        drop((self.client, self.engine));
        self.store.close().await;
        // The database stays: dropping it would sync what all other tests have written.
        self.database.pool.close().await;
    }
}

/// How an activity ended, as its run's history says.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) activity_id: ActivityId,
    pub(crate) attempt: u32,
}

/// The outcomes in a history; each scheduled activity has exactly one.
pub(crate) fn outcomes(events: &[Event]) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut attempts = std::collections::HashMap::new();
    let mut scheduled = 0;
    for event in events {
        let ended = match &event.event {
            EventKind::ActivityTaskScheduled(_) => {
                scheduled += 1;
                continue;
            }
            EventKind::ActivityTaskStarted(started) => {
                attempts.insert(started.activity_id, started.attempt);
                continue;
            }
            EventKind::ActivityTaskCompleted(ended) => ended.activity_id,
            EventKind::ActivityTaskFailed(ended) => ended.activity_id,
            EventKind::ActivityTaskTimedOut(ended) => ended.activity_id,
            EventKind::ActivityTaskCanceled(ended) => ended.activity_id,
            _ => continue,
        };
        outcomes.push(Outcome { activity_id: ended, attempt: attempts.get(&ended).copied().unwrap_or(0) });
    }
    let ids: HashSet<ActivityId> = outcomes.iter().map(|outcome| outcome.activity_id).collect();
    assert_eq!((ids.len(), outcomes.len()), (scheduled, scheduled), "each activity ends once: {events:#?}");
    outcomes
}

/// Asks again and again until there is an answer.
pub(crate) async fn eventually<T>(what: &str, bound: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(began.elapsed() < bound, "not within {bound:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits for something with a bound that only a stuck engine passes.
pub(crate) async fn within<T>(what: &str, bound: Duration, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(bound, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {bound:?}: {what}"),
    }
}
