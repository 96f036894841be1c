//! A worker process: a member of the fleet from its registration to its last breath.
//!
//! A process that loses its lease drops everything and registers anew, as a new member. Shutdown stops claims, tells
//! running activities, records what is under way, gives every run back, and leaves the fleet: nothing waits for a lease
//! to lapse.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use dacapo_core::{
    StartWorkflow, Store, WorkerId,
    store::{StartOutcome, StoreError, StoreResult, WorkerRegistration},
};
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot, watch},
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    activities::ActivityPool,
    client::LocalStarter,
    engine::{Engine, process_identity},
    executor::{ActivityRunner, ExecutorFactory},
    options::WorkerOptions,
    owner::{self, Context, Owners, ToOwner},
    roles::{
        Alarm, Peers,
        claim::{claim_activities, claim_runs, move_timers},
        handed::{Door, keep_door, shut, take_handed},
        inbox::{Mail, read_inboxes},
        keeper::{Bells, keep, listen},
        outbox::deliver,
        questions::read_questions,
    },
};

/// The wait before a process that could not register tries again.
const REGISTER_RETRY: Duration = Duration::from_millis(500);

/// The time for writes that are under way when a process stops.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// Where a worker process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerState {
    /// It is not a member of the fleet yet, or not any more.
    Joining,
    /// It takes work.
    Serving,
    /// It gives its work back.
    Draining,
    /// It has left.
    Stopped,
}

/// A running worker process.
#[derive(Debug)]
pub struct WorkerProcess {
    stop: CancellationToken,
    state: watch::Receiver<WorkerState>,
    task: tokio::task::JoinHandle<Result<(), WorkerError>>,
}

/// Why a worker process ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The options are impossible.
    #[error("{problem}")]
    Invalid {
        /// What is wrong and what to do.
        problem: String,
    },
    /// The store refuses it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Too many threads were lost to workflow code that never returns.
    #[error(
        "{} workflow threads were lost to code that never came back to an await: find the workflow in the log and move \
         its long work into an activity",
        dacapo_core::limits::STUCK_THREADS_MAX
    )]
    ThreadsExhausted,
    /// A part of the process panicked.
    #[error("a part of the worker stopped unexpectedly: {problem}")]
    Broken {
        /// What is known of it.
        problem: String,
    },
}

impl WorkerProcess {
    /// Starts a worker. It joins the fleet as soon as the database answers.
    ///
    /// # Errors
    /// [`WorkerError::Invalid`] for impossible options.
    pub fn start(
        engine: &Engine,
        mut options: WorkerOptions,
        factory: Arc<dyn ExecutorFactory>,
        runner: Arc<dyn ActivityRunner>,
    ) -> Result<Self, WorkerError> {
        if options.queues.is_empty() {
            return Err(WorkerError::Invalid { problem: "no task queue is given: name at least one".to_owned() });
        }
        for queue in &options.queues {
            dacapo_core::ids::validate("task queue", queue.as_str())
                .map_err(|error| WorkerError::Invalid { problem: error.to_string() })?;
        }
        if options.identity.is_empty() {
            options.identity = process_identity();
        }
        let stop = CancellationToken::new();
        let (state, watched) = watch::channel(WorkerState::Joining);
        let life = Life { engine: engine.clone(), options, factory, runner, stop: stop.clone(), state };
        Ok(Self { stop, state: watched, task: tokio::spawn(life.run()) })
    }

    /// Where it is in its life; changes can be awaited.
    pub fn state(&self) -> watch::Receiver<WorkerState> {
        self.state.clone()
    }

    /// Tells it to stop; what it owns is given back.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until it has stopped.
    ///
    /// # Errors
    /// [`WorkerError`] when it did not stop because it was told to.
    pub async fn stopped(self) -> Result<(), WorkerError> {
        self.task.await.unwrap_or_else(|error| Err(WorkerError::Broken { problem: error.to_string() }))
    }
}

/// How one membership ended.
enum Ended {
    Told,
    LeaseLost,
    Exhausted,
}

struct Life {
    engine: Engine,
    options: WorkerOptions,
    factory: Arc<dyn ExecutorFactory>,
    runner: Arc<dyn ActivityRunner>,
    stop: CancellationToken,
    state: watch::Sender<WorkerState>,
}

impl Life {
    async fn run(self) -> Result<(), WorkerError> {
        let ended = loop {
            self.state.send_replace(WorkerState::Joining);
            let Some(worker) = self.register().await? else { break Ok(()) };
            match self.member(worker).await {
                Ended::Told => break Ok(()),
                Ended::Exhausted => break Err(WorkerError::ThreadsExhausted),
                Ended::LeaseLost => {}
            }
        };
        self.state.send_replace(WorkerState::Stopped);
        ended
    }

    /// Joins the fleet, however long it takes; `None` when it is told to stop before.
    async fn register(&self) -> Result<Option<WorkerId>, WorkerError> {
        loop {
            let registration = WorkerRegistration {
                worker: WorkerId(Uuid::now_v7()),
                identity: self.options.identity.clone(),
                build_id: self.options.build_id.clone(),
                namespace: self.options.namespace.clone(),
                queues: self.options.queues.clone(),
                workflow_types: self.factory.workflow_types(),
                activity_types: self.runner.activity_types().iter().map(ToString::to_string).collect(),
                lease: self.options.lease,
                slots: self.options.concurrent_activities,
            };
            match self.engine.store().register(&registration).await {
                Ok(now) => {
                    self.engine.clock().adjust(now);
                    return Ok(Some(registration.worker));
                }
                Err(StoreError::Unavailable { problem }) => {
                    tracing::warn!(problem, "cannot join the fleet yet");
                }
                Err(error) => return Err(error.into()),
            }
            tokio::select! {
                () = tokio::time::sleep(REGISTER_RETRY) => {}
                () = self.stop.cancelled() => return Ok(None),
            }
        }
    }

    /// Lives as one member of the fleet.
    async fn member(&self, worker: WorkerId) -> Ended {
        let store = Arc::clone(self.engine.store());
        let context = self.context(worker, &store);
        let owners = Owners::start(&context);
        context.pool.connect(owners.clone());
        let _ = context.owners.set(owners.clone());
        if let Some(time) = context.clock.virtual_time() {
            time.join(&context, &owners);
        }
        let bells = Bells::new(Arc::clone(&context.timer_due), Arc::clone(&context.mail));
        let starter: Arc<dyn LocalStarter> = Arc::new(OwnedHere {
            context: Arc::clone(&context),
            types: self.factory.workflow_types(),
            owners: owners.clone(),
        });
        let mut roles = JoinSet::new();
        roles.spawn(listen(Arc::clone(&context), owners.clone(), bells.clone()));
        roles.spawn(claim_runs(Arc::clone(&context), owners.clone(), Arc::clone(&bells.runs), Arc::clone(&bells.mail)));
        roles.spawn(claim_activities(Arc::clone(&context), Arc::clone(&bells.activities)));
        roles.spawn(move_timers(Arc::clone(&context), Arc::clone(&bells.timers)));
        roles.spawn(read_inboxes(Arc::clone(&context), owners.clone(), Arc::clone(&bells.mail)));
        roles.spawn(read_questions(Arc::clone(&context), owners.clone(), Arc::clone(&bells.asked)));
        let (handed, asked) = (Arc::clone(&bells.handed), Arc::clone(&bells.asked));
        roles.spawn(take_handed(Arc::clone(&context), owners.clone(), handed, asked));
        roles.spawn(keep_door(Arc::clone(&context)));
        roles.spawn(deliver(Arc::clone(&context), Arc::clone(&bells.outbox)));
        roles.spawn(owner::watch(owners.clone()));
        let mut keeper = tokio::spawn(keep(Arc::clone(&context), owners.clone(), bells.clone()));
        self.engine.starters().add(Arc::clone(&starter));
        self.state.send_replace(WorkerState::Serving);
        tracing::info!(%worker, queues = ?self.options.queues, "the worker serves");

        let ended = tokio::select! {
            () = self.stop.cancelled() => Ended::Told,
            _ = &mut keeper => Ended::LeaseLost,
            () = exhausted(&context) => Ended::Exhausted,
        };
        self.engine.starters().remove(&starter);
        if !matches!(ended, Ended::LeaseLost) {
            shut(&context).await;
        }
        // Claims stop first: what they had just claimed and not handed over is found by whoever takes over.
        roles.shutdown().await;
        if matches!(ended, Ended::LeaseLost) {
            drop_everything(&context, &owners).await;
        } else {
            self.state.send_replace(WorkerState::Draining);
            drain(&context, &owners, self.options.drain_timeout).await;
            keeper.abort();
            if let Err(error) = store.deregister(worker).await {
                tracing::warn!(%error, "could not leave the fleet; the lease will lapse");
            }
        }
        keeper.abort();
        owners.tell_all(|| ToOwner::Stop);
        context.tracker.close();
        let _ = tokio::time::timeout(LAST_WRITES, context.tracker.wait()).await;
        if let Some(time) = context.clock.virtual_time() {
            time.leave(&context);
        }
        ended
    }

    fn context(&self, worker: WorkerId, store: &Arc<dyn Store>) -> Arc<Context> {
        let clock = Arc::clone(self.engine.clock());
        let identity: Arc<str> = self.options.identity.as_str().into();
        let pool = ActivityPool::new(
            Arc::clone(&self.runner),
            Arc::clone(store),
            Arc::clone(&clock),
            (worker, Arc::clone(&identity)),
            self.options.concurrent_activities,
        );
        Arc::new(Context {
            store: Arc::clone(store),
            clock,
            waits: Arc::clone(self.engine.waits()),
            worker,
            identity,
            options: self.options.clone(),
            factory: Arc::clone(&self.factory),
            pool,
            peers: Peers::default(),
            handle: Handle::current(),
            tracker: TaskTracker::new(),
            owned: AtomicUsize::new(0),
            arriving: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            claim_lost: AtomicBool::new(false),
            exhausted: AtomicBool::new(false),
            room: Notify::new(),
            activity_due: Alarm::default(),
            timer_due: Arc::default(),
            owners: OnceLock::new(),
            mail: Arc::<Mail>::default(),
            door: Door::default(),
        })
    }
}

async fn exhausted(context: &Context) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    while !context.exhausted.load(Ordering::Relaxed) {
        ticks.tick().await;
    }
}

/// Gives everything back: runs that wait at once, those with running activities after `grace`.
async fn drain(context: &Context, owners: &Owners, grace: Duration) {
    context.draining.store(true, Ordering::Relaxed);
    context.pool.cancel_all();
    owners.tell_all(|| ToOwner::Drain);
    if tokio::time::timeout(grace, context.pool.drained()).await.is_err() {
        context.pool.abandon_all();
        let _ = tokio::time::timeout(LAST_WRITES, context.pool.drained()).await;
    }
    owners.tell_all(|| ToOwner::Drain);
    let deadline = Instant::now() + LAST_WRITES;
    while context.owned() > 0 && Instant::now() < deadline {
        let _ = tokio::time::timeout(DRAIN_LOOK, context.room.notified()).await;
    }
}

/// The longest wait between two looks at whether everything was given back.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// Drops what is not this process's any more; nothing of it is written.
async fn drop_everything(context: &Context, owners: &Owners) {
    context.draining.store(true, Ordering::Relaxed);
    owners.tell_all(|| ToOwner::Forget);
    context.pool.abandon_all();
    let _ = tokio::time::timeout(LAST_WRITES, context.pool.drained()).await;
}

/// Owns what is started in this process and can run here.
struct OwnedHere {
    context: Arc<Context>,
    types: Vec<dacapo_core::WorkflowType>,
    owners: Owners,
}

impl LocalStarter for OwnedHere {
    fn try_start(
        &self,
        request: Box<StartWorkflow>,
    ) -> Result<oneshot::Receiver<StoreResult<StartOutcome>>, Box<StartWorkflow>> {
        let options = &self.context.options;
        let wanted = !self.context.is_draining()
            && request.start_delay_ms.is_none_or(|ms| ms == 0)
            && request.namespace == options.namespace
            && options.queues.contains(&request.task_queue)
            && self.types.contains(&request.workflow_type)
            && self.context.owned() < options.cached_runs;
        if !wanted {
            return Err(request);
        }
        let (reply, answer) = oneshot::channel();
        self.owners.start_run(request, reply);
        Ok(answer)
    }
}
