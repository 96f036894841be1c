//! The events of a history: facts, in the past tense, written once and never changed.
//!
//! The JSON of these types is a stored format. Fields may be added with defaults; nothing is renamed or removed.

mod size;

use serde::{Deserialize, Serialize};

use crate::{
    activity::{ActivityOptions, is_middle_priority, middle_priority},
    failure::{Failure, RetryState, TimeoutType},
    ids::{ActivityId, ActivityType, MessageId, Namespace, RunId, TaskQueue, TimerId, WorkflowId, WorkflowType},
    payload::Payload,
    time::Timestamp,
};

/// One fact about a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The place in the history: dense from 1.
    pub event_id: i64,
    /// When, by the writing process's estimate of the database clock; never decreases in a run.
    pub event_time: Timestamp,
    /// What.
    pub event: EventKind,
}

/// What happened. The order of variants is the order of a run's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// The run began.
    WorkflowExecutionStarted(Box<WorkflowExecutionStarted>),
    /// A signal arrived.
    WorkflowExecutionSignaled(WorkflowExecutionSignaled),
    /// Somebody asked the run to cancel itself.
    WorkflowExecutionCancelRequested(WorkflowExecutionCancelRequested),
    /// The workflow has something to react to.
    WorkflowTaskScheduled(WorkflowTaskScheduled),
    /// A worker began to run the workflow's code.
    WorkflowTaskStarted(WorkflowTaskStarted),
    /// The workflow's code has run; its commands follow as events.
    WorkflowTaskCompleted(WorkflowTaskCompleted),
    /// The workflow's code could not be run; it is tried again.
    WorkflowTaskFailed(WorkflowTaskFailed),
    /// The workflow's code did not come back in time; it is tried again.
    WorkflowTaskTimedOut(WorkflowTaskTimedOut),
    /// The workflow asked for an activity.
    ActivityTaskScheduled(Box<ActivityTaskScheduled>),
    /// The attempt that brought the outcome began.
    ActivityTaskStarted(ActivityTaskStarted),
    /// The activity gave a value.
    ActivityTaskCompleted(ActivityTaskCompleted),
    /// The activity failed for good.
    ActivityTaskFailed(Box<ActivityTaskFailed>),
    /// The activity timed out for good.
    ActivityTaskTimedOut(ActivityTaskTimedOut),
    /// The workflow asked for the activity to stop.
    ActivityTaskCancelRequested(ActivityTaskCancelRequested),
    /// The activity stopped because it was asked to.
    ActivityTaskCanceled(ActivityTaskCanceled),
    /// The workflow set a timer.
    TimerStarted(TimerStarted),
    /// A timer's time came.
    TimerFired(TimerFired),
    /// The workflow gave up a timer.
    TimerCanceled(TimerCanceled),
    /// The run ended with a value.
    WorkflowExecutionCompleted(WorkflowExecutionCompleted),
    /// The run ended with a failure.
    WorkflowExecutionFailed(WorkflowExecutionFailed),
    /// The run took longer than allowed.
    WorkflowExecutionTimedOut(WorkflowExecutionTimedOut),
    /// The run ended itself after a request to cancel.
    WorkflowExecutionCanceled(WorkflowExecutionCanceled),
    /// The run was ended from outside.
    WorkflowExecutionTerminated(WorkflowExecutionTerminated),
}

impl EventKind {
    /// The event type's name as stored and shown.
    pub fn name(&self) -> &'static str {
        match self {
            Self::WorkflowExecutionStarted(_) => "WorkflowExecutionStarted",
            Self::WorkflowExecutionSignaled(_) => "WorkflowExecutionSignaled",
            Self::WorkflowExecutionCancelRequested(_) => "WorkflowExecutionCancelRequested",
            Self::WorkflowTaskScheduled(_) => "WorkflowTaskScheduled",
            Self::WorkflowTaskStarted(_) => "WorkflowTaskStarted",
            Self::WorkflowTaskCompleted(_) => "WorkflowTaskCompleted",
            Self::WorkflowTaskFailed(_) => "WorkflowTaskFailed",
            Self::WorkflowTaskTimedOut(_) => "WorkflowTaskTimedOut",
            Self::ActivityTaskScheduled(_) => "ActivityTaskScheduled",
            Self::ActivityTaskStarted(_) => "ActivityTaskStarted",
            Self::ActivityTaskCompleted(_) => "ActivityTaskCompleted",
            Self::ActivityTaskFailed(_) => "ActivityTaskFailed",
            Self::ActivityTaskTimedOut(_) => "ActivityTaskTimedOut",
            Self::ActivityTaskCancelRequested(_) => "ActivityTaskCancelRequested",
            Self::ActivityTaskCanceled(_) => "ActivityTaskCanceled",
            Self::TimerStarted(_) => "TimerStarted",
            Self::TimerFired(_) => "TimerFired",
            Self::TimerCanceled(_) => "TimerCanceled",
            Self::WorkflowExecutionCompleted(_) => "WorkflowExecutionCompleted",
            Self::WorkflowExecutionFailed(_) => "WorkflowExecutionFailed",
            Self::WorkflowExecutionTimedOut(_) => "WorkflowExecutionTimedOut",
            Self::WorkflowExecutionCanceled(_) => "WorkflowExecutionCanceled",
            Self::WorkflowExecutionTerminated(_) => "WorkflowExecutionTerminated",
        }
    }

    /// Says whether a run is closed by this event.
    pub fn closes(&self) -> bool {
        matches!(
            self,
            Self::WorkflowExecutionCompleted(_)
                | Self::WorkflowExecutionFailed(_)
                | Self::WorkflowExecutionTimedOut(_)
                | Self::WorkflowExecutionCanceled(_)
                | Self::WorkflowExecutionTerminated(_)
        )
    }

    /// Says whether a workflow command made this event (so that replay must make the command again).
    pub fn is_command(&self) -> bool {
        matches!(
            self,
            Self::ActivityTaskScheduled(_)
                | Self::ActivityTaskCancelRequested(_)
                | Self::TimerStarted(_)
                | Self::TimerCanceled(_)
                | Self::WorkflowExecutionCompleted(_)
                | Self::WorkflowExecutionFailed(_)
                | Self::WorkflowExecutionCanceled(_)
        )
    }
}

/// Attributes of [`EventKind::WorkflowExecutionStarted`]: everything a run is started with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowExecutionStarted {
    /// The namespace.
    pub namespace: Namespace,
    /// The caller's name for the work.
    pub workflow_id: WorkflowId,
    /// This execution.
    pub run_id: RunId,
    /// The workflow function's stored name.
    pub workflow_type: WorkflowType,
    /// Where its workflow tasks, and by default its activities, run.
    pub task_queue: TaskQueue,
    /// The workflow's input.
    pub input: Payload,
    /// The whole chain of retries and continuations; unlimited when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_execution_timeout_ms: Option<u64>,
    /// This run; unlimited when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_run_timeout_ms: Option<u64>,
    /// One workflow task; the default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_task_timeout_ms: Option<u64>,
    /// The wait before the first workflow task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_workflow_task_backoff_ms: Option<u64>,
    /// The user's notes on the run: a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memo: Option<Payload>,
    /// What lists filter by: a JSON object of scalars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search_attributes: Option<Payload>,
    /// Who started it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub identity: String,
    /// What ties together everything that one outer request caused; travels into every task and log line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub correlation_id: String,
    /// The request that started it, when the caller gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// 1 (first) to 5 (last) within the queue.
    #[serde(default = "middle_priority", skip_serializing_if = "is_middle_priority")]
    pub priority: u8,
    /// The rules of ordering, cancellation and replay that the run keeps for its life.
    pub semantics_version: u32,
}

/// Attributes of [`EventKind::WorkflowExecutionSignaled`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowExecutionSignaled {
    /// The message's id: a resend is recorded once.
    pub message_id: MessageId,
    /// The signal's name.
    pub signal_name: String,
    /// Its value.
    pub input: Payload,
    /// Who sent it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub identity: String,
}

/// Attributes of [`EventKind::WorkflowExecutionCancelRequested`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowExecutionCancelRequested {
    /// The message's id.
    pub message_id: MessageId,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Who asked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub identity: String,
}

/// Attributes of [`EventKind::WorkflowTaskScheduled`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowTaskScheduled {
    /// 1 for the first try of this task.
    pub attempt: u32,
}

/// Attributes of [`EventKind::WorkflowTaskStarted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowTaskStarted {
    /// The task.
    pub scheduled_event_id: i64,
    /// The worker.
    pub identity: String,
    /// The worker's build, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
}

/// Attributes of [`EventKind::WorkflowTaskCompleted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowTaskCompleted {
    /// The task.
    pub scheduled_event_id: i64,
    /// Its start.
    pub started_event_id: i64,
}

/// Why a workflow task failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkflowTaskFailedCause {
    /// The code made other commands than the history holds.
    NonDeterministic,
    /// The code panicked.
    Panic,
    /// The code awaited something that is not durable, or was woken from outside.
    ForeignAwait,
    /// The code waits and nothing durable is outstanding.
    NoProgress,
    /// The code passed a limit, or made an impossible command.
    BadCommand,
    /// The input or a stored value is not of the type that the code reads.
    BadPayload,
    /// The code completed the run while an event it had not seen arrived.
    UnhandledCommand,
    /// The worker has no such workflow type.
    NotRegistered,
}

/// Attributes of [`EventKind::WorkflowTaskFailed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowTaskFailed {
    /// The task.
    pub scheduled_event_id: i64,
    /// Its start.
    pub started_event_id: i64,
    /// Why.
    pub cause: WorkflowTaskFailedCause,
    /// In words, with the way out.
    pub failure: Failure,
}

/// Attributes of [`EventKind::WorkflowTaskTimedOut`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowTaskTimedOut {
    /// The task.
    pub scheduled_event_id: i64,
    /// Its start.
    pub started_event_id: i64,
    /// In words, with the way out.
    pub failure: Failure,
}

/// Attributes of [`EventKind::ActivityTaskScheduled`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityTaskScheduled {
    /// The workflow's number for it.
    pub activity_id: ActivityId,
    /// The activity's stored name.
    pub activity_type: ActivityType,
    /// Its input.
    pub input: Payload,
    /// Timeouts, retries, queue.
    pub options: ActivityOptions,
}

/// Attributes of [`EventKind::ActivityTaskStarted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityTaskStarted {
    /// The activity.
    pub activity_id: ActivityId,
    /// Its scheduling.
    pub scheduled_event_id: i64,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Who ran it.
    pub identity: String,
    /// When the attempt began.
    pub started_at: Timestamp,
    /// How the attempt before this one failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Box<Failure>>,
}

/// Attributes of [`EventKind::ActivityTaskCompleted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityTaskCompleted {
    /// The activity.
    pub activity_id: ActivityId,
    /// Its scheduling.
    pub scheduled_event_id: i64,
    /// Its value.
    pub result: Payload,
}

/// Attributes of [`EventKind::ActivityTaskFailed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityTaskFailed {
    /// The activity.
    pub activity_id: ActivityId,
    /// Its scheduling.
    pub scheduled_event_id: i64,
    /// How the last attempt failed.
    pub failure: Failure,
    /// Why no other attempt follows.
    pub retry_state: RetryState,
}

/// Attributes of [`EventKind::ActivityTaskTimedOut`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityTaskTimedOut {
    /// The activity.
    pub activity_id: ActivityId,
    /// Its scheduling.
    pub scheduled_event_id: i64,
    /// Which timeout passed.
    pub timeout_type: TimeoutType,
    /// Why no other attempt follows.
    pub retry_state: RetryState,
    /// The details of the last heartbeat that was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_heartbeat: Option<Payload>,
}

/// Attributes of [`EventKind::ActivityTaskCancelRequested`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityTaskCancelRequested {
    /// The activity.
    pub activity_id: ActivityId,
    /// Its scheduling.
    pub scheduled_event_id: i64,
}

/// Attributes of [`EventKind::ActivityTaskCanceled`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityTaskCanceled {
    /// The activity.
    pub activity_id: ActivityId,
    /// Its scheduling.
    pub scheduled_event_id: i64,
    /// What the activity had to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Payload>,
}

/// Attributes of [`EventKind::TimerStarted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerStarted {
    /// The workflow's number for it.
    pub timer_id: TimerId,
    /// When it is due, by the database clock.
    pub fire_at: Timestamp,
}

/// Attributes of [`EventKind::TimerFired`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerFired {
    /// The timer.
    pub timer_id: TimerId,
    /// Its start.
    pub started_event_id: i64,
}

/// Attributes of [`EventKind::TimerCanceled`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerCanceled {
    /// The timer.
    pub timer_id: TimerId,
    /// Its start.
    pub started_event_id: i64,
}

/// Attributes of [`EventKind::WorkflowExecutionCompleted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowExecutionCompleted {
    /// The workflow's value.
    pub result: Payload,
}

/// Attributes of [`EventKind::WorkflowExecutionFailed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowExecutionFailed {
    /// The workflow's failure.
    pub failure: Failure,
}

/// Attributes of [`EventKind::WorkflowExecutionTimedOut`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowExecutionTimedOut {
    /// The time that was allowed, in milliseconds.
    pub timeout_ms: u64,
}

/// Attributes of [`EventKind::WorkflowExecutionCanceled`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowExecutionCanceled {
    /// What the workflow had to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Payload>,
}

/// Attributes of [`EventKind::WorkflowExecutionTerminated`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowExecutionTerminated {
    /// The message's id.
    pub message_id: MessageId,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Who did it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub identity: String,
}
