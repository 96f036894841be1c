//! What the runtime asks of those who run user code: workflow code on the runtime's own threads ([`Executor`]),
//! activities on the process's tokio runtime ([`ActivityRunner`]).

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use dacapo_core::{
    ActivityId, ActivityOptions, ActivityOutcome, ActivityResult, ActivityType, Command, Event, Failure, Payload,
    RunId, RunKey, Shard, Store, Timestamp, UpdateRequest, WorkerId, WorkflowType,
    event::{WorkflowExecutionStarted, WorkflowTaskFailedCause},
    marker::LocalActivityOutcome,
    store::{ActivityClaimRef, ActivityReport},
    transition::ActivityTask,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{clock::Clock, virtual_time::AttemptKey};

/// One workflow task for the code to run.
#[derive(Debug)]
pub struct Activation<'a> {
    /// The run.
    pub run: RunKey,
    /// What it was started with.
    pub started: &'a Arc<WorkflowExecutionStarted>,
    /// With `from_start`, the whole history up to and with this task's WorkflowTaskStarted (always the last event here).
    /// Without, only what came after the commands of the last task that this executor completed for the run.
    pub events: &'a [Event],
    /// Whether `events` is the whole history; the executor then forgets what it knows of the run and replays.
    pub from_start: bool,
    /// Requests that wait for an answer of the code, all of them with every activation until they are answered.
    pub updates: &'a [UpdateRequest],
    /// Local activities that ended since; one that the code does not wait for any more is ignored.
    pub ended: &'a [LocalActivityEnded],
}

/// An activity that the runtime is to run in this process, beside the code: attempt after attempt by its retry policy,
/// until it ends or is stopped. No event says that it runs, so an executor that replays asks for it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalActivityTask {
    /// The workflow's number for it, from the same count as those of activities.
    pub activity_id: ActivityId,
    /// Which activity.
    pub activity_type: ActivityType,
    /// Its input.
    pub input: Payload,
    /// Timeouts and retries; queue, heartbeat and priority mean nothing here.
    pub options: Box<ActivityOptions>,
}

/// The end of a local activity: the run is woken with it, and its code records it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalActivityEnded {
    /// The workflow's number for it.
    pub activity_id: ActivityId,
    /// The attempts that were made.
    pub attempts: u32,
    /// How the last one ended.
    pub outcome: LocalActivityOutcome,
}

/// What the code wants of its local activities, once the commands of its task are written. When they are not, the run is
/// replayed and asks again, for all that it waits for and no history knows the end of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalActivities {
    /// To begin. One that runs already, for an activation that was lost, may go on in place of a new one.
    pub run: Vec<LocalActivityTask>,
    /// To stop: nobody waits for them any more.
    pub stop: Vec<ActivityId>,
}

/// A question to the code of a run, which is answered from its state and leaves no trace.
#[derive(Debug)]
pub struct QueryActivation<'a> {
    /// The run.
    pub run: RunKey,
    /// What it was started with.
    pub started: &'a Arc<WorkflowExecutionStarted>,
    /// The whole history, to answer from a replay of its completed workflow tasks; empty to answer from memory.
    pub events: &'a [Event],
    /// Which query.
    pub name: &'a str,
    /// Its argument; `null` for none.
    pub input: &'a Payload,
}

/// What came of a question.
#[derive(Debug)]
pub enum Queried {
    /// The code answered.
    Answered(Payload),
    /// The code has no such query at this point of its life.
    Unknown {
        /// Those that it has, by name.
        known: Vec<String>,
    },
    /// The code could not answer, or could not be replayed. The run itself is not touched by it.
    Failed(Box<Failure>),
    /// The executor has nothing in memory for the run and needs its history.
    NeedsHistory,
}

/// What came of running the code.
#[derive(Debug)]
pub enum Activated {
    /// The code ran until it had nothing to do but wait, or ended.
    Completed {
        /// What it asks for, each to make one event, in this order; a command that ends the run is the last.
        commands: Vec<Command>,
        /// Values for queries, in the order of publishing; replays do not repeat them.
        published: Vec<(String, Payload)>,
        /// What it wants of its local activities.
        local: LocalActivities,
    },
    /// The code could not be run; the run itself does not fail by it. The executor has forgotten the run.
    Failed {
        /// Why.
        cause: WorkflowTaskFailedCause,
        /// In words, with position and way out.
        failure: Failure,
    },
    /// The executor has nothing in memory for the run and needs an activation `from_start`.
    NeedsHistory,
}

/// Runs workflow code. Lives on one thread that has no tokio runtime entered; made there by an [`ExecutorFactory`].
pub trait Executor {
    /// Runs the code over events it has not seen.
    fn activate(&mut self, activation: Activation<'_>) -> Activated;

    /// Lets the code answer a question. What is in memory stays as it is, and a replay for this alone is thrown away.
    fn query(&mut self, query: QueryActivation<'_>) -> Queried;

    /// Forgets the state of a run; its code hears nothing of it and cancels nothing.
    fn evict(&mut self, run: RunKey);
}

/// Makes an executor on the thread that will use it, and says what it can run.
pub trait ExecutorFactory: Send + Sync + 'static {
    /// Makes an executor.
    fn make(&self) -> Box<dyn Executor>;

    /// The workflow types it can run.
    fn workflow_types(&self) -> Vec<WorkflowType>;
}

/// What an activity attempt can say and hear while it runs.
#[derive(Debug, Clone)]
pub struct ActivityControl {
    pub(crate) canceled: CancellationToken,
    pub(crate) heartbeats: tokio::sync::watch::Sender<Heartbeat>,
    pub(crate) attempt: AttemptKey,
    /// The engine's clock; without one, the machine's.
    pub(crate) clock: Option<Arc<Clock>>,
    /// Whether it is an attempt of a local activity.
    pub(crate) local: bool,
    /// What an attempt needs that records its own end; only one that was claimed can.
    pub(crate) claimed: Option<Arc<ClaimedAttempt>>,
}

/// A claimed attempt as it is to be reported, for code that records its end together with writes of its own.
pub struct ClaimedAttempt {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) worker: WorkerId,
    pub(crate) claim: ActivityClaimRef,
    pub(crate) identity: Arc<str>,
    pub(crate) started_at: Timestamp,
    /// Set when the end is recorded: nothing is to be reported any more.
    pub(crate) recorded: AtomicBool,
}

impl fmt::Debug for ClaimedAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClaimedAttempt").field("claim", &self.claim).finish_non_exhaustive()
    }
}

impl ClaimedAttempt {
    /// Gives the store that has the claim.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Makes the report that the attempt completed with a result. Signs of life are those that were recorded.
    pub fn completed(&self, result: Payload) -> ActivityReport {
        let outcome = ActivityOutcome {
            activity_id: self.claim.activity_id,
            attempt: self.claim.attempt,
            started_at: Some(self.started_at),
            identity: Arc::clone(&self.identity),
            last_heartbeat: None,
            result: ActivityResult::Completed(result),
        };
        ActivityReport { worker: self.worker, claim: self.claim, outcome }
    }

    /// Notes that the end is recorded.
    pub fn set_recorded(&self) {
        self.recorded.store(true, Ordering::Release);
    }

    /// Whether the end is recorded.
    pub fn is_recorded(&self) -> bool {
        self.recorded.load(Ordering::Acquire)
    }
}

/// The latest sign of life of an attempt.
#[derive(Debug, Clone, Default)]
pub struct Heartbeat {
    /// Counts the signs of life.
    pub count: u64,
    /// What the next attempt should know.
    pub details: Option<Payload>,
}

impl ActivityControl {
    /// Makes a control that nobody listens to, for running an activity by itself in a test.
    pub fn detached() -> Self {
        let heartbeats = tokio::sync::watch::channel(Heartbeat::default()).0;
        let run = RunKey { shard: Shard(0), run_id: RunId(Uuid::nil()) };
        Self {
            canceled: CancellationToken::new(),
            heartbeats,
            attempt: (run, 0, 0),
            clock: None,
            local: false,
            claimed: None,
        }
    }

    /// Says that the attempt is alive, and what the next one should know. Cheap: the runtime sends on only as often as
    /// the heartbeat timeout asks for. Of a local activity nobody asks it, and it goes nowhere.
    pub fn heartbeat(&self, details: Option<Payload>) {
        self.heartbeats.send_modify(|heartbeat| {
            heartbeat.count += 1;
            if details.is_some() {
                heartbeat.details = details;
            }
        });
    }

    /// Says whether it is an attempt of a local activity, which the process that owns the run makes beside its code.
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// Waits for a time of the engine's clock, which in tests moves on its own.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn sleep(&self, duration: Duration) {
        let time = self.clock.as_ref().and_then(|clock| clock.virtual_time());
        let Some(time) = time else { return tokio::time::sleep(duration).await };
        let sleep = time.sleep_of(Some(self.attempt), time.now().plus(duration));
        tokio::select! {
            () = sleep.elapsed() => return,
            () = self.canceled.cancelled() => sleep.told(),
        }
        sleep.elapsed().await;
    }

    /// Gives the time of the engine's clock.
    pub fn now(&self) -> Timestamp {
        match &self.clock {
            Some(clock) => clock.now(),
            None => Timestamp::default().plus(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
        }
    }

    /// Gives what an attempt needs that records its own end.
    pub fn claimed(&self) -> Option<&Arc<ClaimedAttempt>> {
        self.claimed.as_ref()
    }

    /// Takes away what an attempt needs that records its own end.
    #[must_use]
    pub fn without_claim(mut self) -> Self {
        self.claimed = None;
        self
    }

    /// Completes when the attempt should stop: its run asked for it or closed, its time is up, or the process shuts
    /// down.
    pub fn canceled(&self) -> &CancellationToken {
        &self.canceled
    }
}

/// A running attempt.
pub type ActivityFuture = Pin<Box<dyn Future<Output = ActivityResult> + Send>>;

/// Runs activities. The runtime watches timeouts, catches panics, records heartbeats and reports the outcome.
pub trait ActivityRunner: Send + Sync + 'static {
    /// The activity types it can run.
    fn activity_types(&self) -> Vec<ActivityType>;

    /// Whether attempts of a type record their own end, so that they must be claimed and never run beside their run without
    /// a row that names them.
    fn is_transactional(&self, _activity_type: &ActivityType) -> bool {
        false
    }

    /// Begins an attempt. A type that is not registered gives a failure that says so.
    fn run(&self, task: Arc<ActivityTask>, control: ActivityControl) -> ActivityFuture;
}
