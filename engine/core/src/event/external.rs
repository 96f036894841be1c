//! What a run sends to other runs, and whether it arrived.

use serde::{Deserialize, Serialize};

use crate::{
    ids::ExternalId,
    outbox::{ExternalTarget, ExternalWorkflowExecutionFailedCause},
    payload::Payload,
};

/// Attributes of [`EventKind::SignalExternalWorkflowExecutionInitiated`](super::EventKind::SignalExternalWorkflowExecutionInitiated).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalExternalWorkflowExecutionInitiated {
    /// The workflow's number for it.
    pub signal_id: ExternalId,
    /// To whom.
    pub target: ExternalTarget,
    /// The signal's name.
    pub signal_name: String,
    /// Its value.
    pub input: Payload,
}

/// Attributes of [`EventKind::SignalExternalWorkflowExecutionFailed`](super::EventKind::SignalExternalWorkflowExecutionFailed).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalExternalWorkflowExecutionFailed {
    /// The signal.
    pub signal_id: ExternalId,
    /// Its initiation.
    pub initiated_event_id: i64,
    /// Why.
    pub cause: ExternalWorkflowExecutionFailedCause,
}

/// Attributes of [`EventKind::ExternalWorkflowExecutionSignaled`](super::EventKind::ExternalWorkflowExecutionSignaled).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalWorkflowExecutionSignaled {
    /// The signal.
    pub signal_id: ExternalId,
    /// Its initiation.
    pub initiated_event_id: i64,
}

/// Attributes of
/// [`EventKind::RequestCancelExternalWorkflowExecutionInitiated`](super::EventKind::RequestCancelExternalWorkflowExecutionInitiated).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCancelExternalWorkflowExecutionInitiated {
    /// The workflow's number for it; for a child, the child's.
    pub cancel_id: ExternalId,
    /// Whom.
    pub target: ExternalTarget,
    /// Whether the target is a child of this run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub child: bool,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Attributes of
/// [`EventKind::RequestCancelExternalWorkflowExecutionFailed`](super::EventKind::RequestCancelExternalWorkflowExecutionFailed).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCancelExternalWorkflowExecutionFailed {
    /// The request.
    pub cancel_id: ExternalId,
    /// Its initiation.
    pub initiated_event_id: i64,
    /// Why.
    pub cause: ExternalWorkflowExecutionFailedCause,
}

/// Attributes of
/// [`EventKind::ExternalWorkflowExecutionCancelRequested`](super::EventKind::ExternalWorkflowExecutionCancelRequested).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalWorkflowExecutionCancelRequested {
    /// The request.
    pub cancel_id: ExternalId,
    /// Its initiation.
    pub initiated_event_id: i64,
}
