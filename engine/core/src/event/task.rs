//! What happens to workflow tasks.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Attributes of [`EventKind::WorkflowTaskScheduled`](super::EventKind::WorkflowTaskScheduled).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowTaskScheduled {
    /// 1 for the first try of this task.
    pub attempt: u32,
}

/// Attributes of [`EventKind::WorkflowTaskStarted`](super::EventKind::WorkflowTaskStarted).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowTaskStarted {
    /// The task.
    pub scheduled_event_id: i64,
    /// The worker.
    pub identity: Arc<str>,
    /// The worker's build, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
    /// Whether the history has grown so long that the workflow should continue as new.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continue_as_new_suggested: bool,
}

/// Attributes of [`EventKind::WorkflowTaskCompleted`](super::EventKind::WorkflowTaskCompleted).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowTaskCompleted {
    /// The task.
    pub scheduled_event_id: i64,
    /// Its start.
    pub started_event_id: i64,
    /// The local activities that the code waits for after it. No event says that they run: whoever takes the run over
    /// learns from this that the code has to be run, so that it asks for them again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub local_activities: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_zero(count: &u32) -> bool {
    *count == 0
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
    /// The run was branched off here: what the task did is not part of it.
    ResetWorkflow,
}

/// Attributes of [`EventKind::WorkflowTaskFailed`](super::EventKind::WorkflowTaskFailed).
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

/// Attributes of [`EventKind::WorkflowTaskTimedOut`](super::EventKind::WorkflowTaskTimedOut).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowTaskTimedOut {
    /// The task.
    pub scheduled_event_id: i64,
    /// Its start.
    pub started_event_id: i64,
    /// In words, with the way out.
    pub failure: Failure,
}
