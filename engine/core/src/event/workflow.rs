//! What begins, reaches and ends a run.

use serde::{Deserialize, Serialize};

use crate::{
    activity::{is_middle_priority, middle_priority},
    failure::{Failure, RetryState},
    ids::{MessageId, Namespace, RunId, TaskQueue, WorkflowId, WorkflowType},
    lineage::Lineage,
    payload::Payload,
    retry::RetryPolicy,
};

/// Attributes of [`EventKind::WorkflowExecutionStarted`](super::EventKind::WorkflowExecutionStarted): everything a run is started with.
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
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::payload::present")]
    pub memo: Option<Payload>,
    /// What lists filter by: a JSON object of scalars.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::payload::present")]
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
    /// How often and how soon a failed run is repeated; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_policy: Option<Box<RetryPolicy>>,
    /// Where the run comes from, when no client started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<Box<Lineage>>,
    /// The rules of ordering, cancellation and replay that the run keeps for its life.
    pub semantics_version: u32,
}

/// Attributes of [`EventKind::WorkflowExecutionSignaled`](super::EventKind::WorkflowExecutionSignaled).
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

/// Attributes of [`EventKind::WorkflowExecutionCancelRequested`](super::EventKind::WorkflowExecutionCancelRequested).
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

/// Attributes of [`EventKind::WorkflowExecutionCompleted`](super::EventKind::WorkflowExecutionCompleted).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowExecutionCompleted {
    /// The workflow's value.
    pub result: Payload,
}

/// Attributes of [`EventKind::WorkflowExecutionFailed`](super::EventKind::WorkflowExecutionFailed).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowExecutionFailed {
    /// The workflow's failure.
    pub failure: Failure,
    /// Why no other run follows; absent without a retry policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_state: Option<RetryState>,
    /// The next attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_run_id: Option<RunId>,
}

/// Attributes of [`EventKind::WorkflowExecutionTimedOut`](super::EventKind::WorkflowExecutionTimedOut).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowExecutionTimedOut {
    /// The time that was allowed, in milliseconds.
    pub timeout_ms: u64,
    /// Why no other run follows; absent without a retry policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_state: Option<RetryState>,
    /// The next attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_run_id: Option<RunId>,
}

/// Attributes of [`EventKind::WorkflowExecutionCanceled`](super::EventKind::WorkflowExecutionCanceled).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowExecutionCanceled {
    /// What the workflow had to say.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::payload::present")]
    pub details: Option<Payload>,
}

/// Attributes of [`EventKind::WorkflowExecutionTerminated`](super::EventKind::WorkflowExecutionTerminated).
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

/// Attributes of [`EventKind::WorkflowExecutionContinuedAsNew`](super::EventKind::WorkflowExecutionContinuedAsNew).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowExecutionContinuedAsNew {
    /// The successor.
    pub new_run_id: RunId,
    /// Its workflow type.
    pub workflow_type: WorkflowType,
    /// Its queue.
    pub task_queue: TaskQueue,
    /// Its input.
    pub input: Payload,
}

/// Attributes of [`EventKind::WorkflowExecutionPaused`](super::EventKind::WorkflowExecutionPaused).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowExecutionPaused {
    /// The message's id.
    pub message_id: MessageId,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Who did it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub identity: String,
}

/// Attributes of [`EventKind::WorkflowExecutionUnpaused`](super::EventKind::WorkflowExecutionUnpaused).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowExecutionUnpaused {
    /// The message's id.
    pub message_id: MessageId,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Who did it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub identity: String,
}
