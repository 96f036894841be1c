//! The context of an activity.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use dacapo_core::{
    ActivityToken, ActivityType, Namespace, Payload, RunId, RunKey, Shard, TaskQueue, Timestamp, WorkflowId,
    WorkflowType, activity::MIDDLE_PRIORITY, payload::PayloadError, transition::ActivityTask,
};
use dacapo_runtime::{ActivityControl, ClaimedAttempt};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::errors::ActivityError;

/// What an activity's code has in its hands during one attempt; cloning it is a counter.
#[derive(Clone, Debug)]
pub struct ActivityContext {
    task: Arc<ActivityTask>,
    control: ActivityControl,
    /// Whether the attempt said that it is completed from outside.
    later: Arc<AtomicBool>,
}

impl ActivityContext {
    pub(crate) fn new(task: Arc<ActivityTask>, control: ActivityControl) -> Self {
        Self { task, control, later: Arc::default() }
    }

    /// Gives the namespace of the run that called the activity.
    pub fn namespace(&self) -> &Namespace {
        &self.task.namespace
    }

    /// Gives the workflow id of the run that called the activity.
    pub fn workflow_id(&self) -> &WorkflowId {
        &self.task.workflow_id
    }

    /// Gives the run that called the activity.
    pub fn run_id(&self) -> RunId {
        self.task.run.run_id
    }

    /// Gives the workflow type of the run that called the activity.
    pub fn workflow_type(&self) -> &WorkflowType {
        &self.task.workflow_type
    }

    /// Gives the run's number for the call.
    pub fn activity_id(&self) -> u64 {
        self.task.activity_id
    }

    /// Gives the stored name of the activity.
    pub fn activity_type(&self) -> &ActivityType {
        &self.task.activity_type
    }

    /// Gives the queue that the attempt came from.
    pub fn task_queue(&self) -> &TaskQueue {
        &self.task.task_queue
    }

    /// Gives the number of the attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.task.attempt
    }

    /// Tells whether it is an attempt of a local activity, which runs in the process that owns the run. What it says in
    /// heartbeats goes nowhere, and its attempts are counted anew when another process takes the run over.
    pub fn is_local(&self) -> bool {
        self.control.is_local()
    }

    /// Gives the time at which the workflow asked for the activity.
    pub fn scheduled_at(&self) -> SystemTime {
        let micros = u64::try_from(self.task.scheduled_at.0).unwrap_or(0);
        UNIX_EPOCH + Duration::from_micros(micros)
    }

    /// Gives what ties together everything that one outer request caused.
    pub fn correlation_id(&self) -> &str {
        &self.task.correlation_id
    }

    /// Gives the key that is the same for every attempt of this call and for no other: what an effect outside carries,
    /// so that an attempt that is repeated after a crash does it once.
    pub fn idempotency_key(&self) -> String {
        self.task.idempotency_key()
    }

    /// Says that the attempt is alive, and what the next one should know of its progress.
    ///
    /// Cheap: only as many are sent on as the heartbeat timeout asks for.
    ///
    /// # Errors
    /// When the details cannot be stored.
    pub fn heartbeat<T: Serialize + ?Sized>(&self, details: &T) -> Result<(), PayloadError> {
        let what = format!("details of a heartbeat of activity `{}`", self.task.activity_type);
        self.control.heartbeat(Some(Payload::encode(&what, details)?));
        Ok(())
    }

    /// Reads what an earlier attempt said in the last heartbeat that was recorded; `None` when there is none.
    ///
    /// # Errors
    /// When the details are not a `T`.
    pub fn last_heartbeat<T: DeserializeOwned>(&self) -> Result<Option<T>, PayloadError> {
        let what = || format!("details of the last heartbeat of activity `{}`", self.task.activity_type);
        self.task.last_heartbeat.as_ref().map(|details| details.decode(&what())).transpose()
    }

    /// Gives what names this attempt to whoever completes it from outside.
    pub fn token(&self) -> ActivityToken {
        ActivityToken { run: self.task.run, activity_id: self.task.activity_id, attempt: self.task.attempt }
    }

    /// Says that the attempt is completed from outside, by its [token](Self::token): `return Err(ctx.completes_later())`.
    ///
    /// Its timeouts go on, its heartbeats come from outside too, and the death of this worker changes nothing. Hand the
    /// token on before: an attempt that nobody completes ends with its timeout.
    #[track_caller]
    pub fn completes_later(&self) -> ActivityError {
        // The attempt is polled by one task at a time, which hands the flag on with it.
        self.later.store(true, Ordering::Relaxed);
        ActivityError::new("CompletesLater", "the attempt is completed from outside").non_retryable()
    }

    /// Tells whether the attempt said that it is completed from outside.
    pub(crate) fn is_completed_later(&self) -> bool {
        self.later.load(Ordering::Relaxed)
    }

    /// Waits for a time of the engine's clock: real time in a worker, and in a test with virtual time that one.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn sleep(&self, duration: Duration) {
        self.control.sleep(duration).await;
    }

    /// Gives the time of the engine's clock, which in tests may be virtual.
    pub fn now(&self) -> SystemTime {
        let micros = u64::try_from(self.control.now().0).unwrap_or(0);
        UNIX_EPOCH + Duration::from_micros(micros)
    }

    /// Gives what a transactional attempt needs to record its own end; `None` where the activity is not declared
    /// `transactional`, and outside a worker.
    pub fn claimed(&self) -> Option<&Arc<ClaimedAttempt>> {
        self.control.claimed()
    }

    /// Waits until the attempt should stop: its run asked for it or closed, its time is up, or the process shuts down.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub async fn cancelled(&self) {
        self.control.canceled().cancelled().await;
    }

    /// Tells whether the attempt should stop.
    pub fn is_cancelled(&self) -> bool {
        self.control.canceled().is_cancelled()
    }
}

impl Default for ActivityContext {
    /// Makes the context of no run, for calling an activity by itself in a test: first attempt, never cancelled,
    /// heartbeats go nowhere.
    fn default() -> Self {
        let (namespace, workflow_id) = (Namespace::default_namespace(), WorkflowId::new("detached"));
        let run = RunKey { shard: Shard::of(&namespace, &workflow_id), run_id: RunId(Uuid::nil()) };
        let task = ActivityTask {
            run,
            namespace,
            workflow_id,
            workflow_type: WorkflowType::new("detached"),
            activity_id: 1,
            activity_type: ActivityType::new("detached"),
            task_queue: TaskQueue::new("detached"),
            input: Payload::null(),
            attempt: 1,
            scheduled_at: Timestamp(0),
            attempt_scheduled_at: Timestamp(0),
            schedule_to_close_at: None,
            schedule_to_start_ms: None,
            start_to_close_ms: None,
            heartbeat_ms: None,
            last_heartbeat: None,
            priority: MIDDLE_PRIORITY,
            correlation_id: String::new(),
        };
        Self::new(Arc::new(task), ActivityControl::detached())
    }
}
