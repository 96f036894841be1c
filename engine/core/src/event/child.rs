//! What happens to the children of a run.

use serde::{Deserialize, Serialize};

use crate::{
    child::ChildWorkflowOptions,
    failure::{Failure, RetryState},
    ids::{ChildId, RunId, WorkflowId, WorkflowType},
    outbox::StartChildWorkflowExecutionFailedCause,
    payload::Payload,
};

/// Attributes of [`EventKind::StartChildWorkflowExecutionInitiated`](super::EventKind::StartChildWorkflowExecutionInitiated).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartChildWorkflowExecutionInitiated {
    /// The workflow's number for it.
    pub child_id: ChildId,
    /// The child's workflow id.
    pub workflow_id: WorkflowId,
    /// The child's first run.
    pub run_id: RunId,
    /// Which workflow.
    pub workflow_type: WorkflowType,
    /// Its input.
    pub input: Payload,
    /// Queue, timeouts, policies.
    pub options: ChildWorkflowOptions,
}

/// Attributes of [`EventKind::StartChildWorkflowExecutionFailed`](super::EventKind::StartChildWorkflowExecutionFailed).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartChildWorkflowExecutionFailed {
    /// The child.
    pub child_id: ChildId,
    /// Its initiation.
    pub initiated_event_id: i64,
    /// Why.
    pub cause: StartChildWorkflowExecutionFailedCause,
}

/// Attributes of [`EventKind::ChildWorkflowExecutionStarted`](super::EventKind::ChildWorkflowExecutionStarted).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildWorkflowExecutionStarted {
    /// The child.
    pub child_id: ChildId,
    /// Its initiation.
    pub initiated_event_id: i64,
    /// Its first run.
    pub run_id: RunId,
}

/// Attributes of [`EventKind::ChildWorkflowExecutionCompleted`](super::EventKind::ChildWorkflowExecutionCompleted).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildWorkflowExecutionCompleted {
    /// The child.
    pub child_id: ChildId,
    /// Its initiation.
    pub initiated_event_id: i64,
    /// Its last run.
    pub run_id: RunId,
    /// Its value.
    pub result: Payload,
}

/// Attributes of [`EventKind::ChildWorkflowExecutionFailed`](super::EventKind::ChildWorkflowExecutionFailed).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildWorkflowExecutionFailed {
    /// The child.
    pub child_id: ChildId,
    /// Its initiation.
    pub initiated_event_id: i64,
    /// Its last run.
    pub run_id: RunId,
    /// The child's own failure.
    pub failure: Failure,
    /// Why no other run follows.
    pub retry_state: RetryState,
}

/// Attributes of [`EventKind::ChildWorkflowExecutionCanceled`](super::EventKind::ChildWorkflowExecutionCanceled).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildWorkflowExecutionCanceled {
    /// The child.
    pub child_id: ChildId,
    /// Its initiation.
    pub initiated_event_id: i64,
    /// Its last run.
    pub run_id: RunId,
    /// What the child had to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Payload>,
}

/// Attributes of [`EventKind::ChildWorkflowExecutionTimedOut`](super::EventKind::ChildWorkflowExecutionTimedOut).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildWorkflowExecutionTimedOut {
    /// The child.
    pub child_id: ChildId,
    /// Its initiation.
    pub initiated_event_id: i64,
    /// Its last run.
    pub run_id: RunId,
    /// Why no other run follows.
    pub retry_state: RetryState,
}

/// Attributes of [`EventKind::ChildWorkflowExecutionTerminated`](super::EventKind::ChildWorkflowExecutionTerminated).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildWorkflowExecutionTerminated {
    /// The child.
    pub child_id: ChildId,
    /// Its initiation.
    pub initiated_event_id: i64,
    /// Its last run.
    pub run_id: RunId,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}
