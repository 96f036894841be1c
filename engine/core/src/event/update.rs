//! What happens to updates.

use serde::{Deserialize, Serialize};

use crate::{
    ids::MessageId,
    update::{UpdateOutcome, UpdateRequest},
};

/// Attributes of [`EventKind::WorkflowExecutionUpdateAccepted`](super::EventKind::WorkflowExecutionUpdateAccepted).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowExecutionUpdateAccepted {
    /// The message that brought it.
    pub message_id: MessageId,
    /// The request.
    pub request: UpdateRequest,
}

/// Attributes of [`EventKind::WorkflowExecutionUpdateCompleted`](super::EventKind::WorkflowExecutionUpdateCompleted).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowExecutionUpdateCompleted {
    /// The update.
    pub update_id: String,
    /// Its acceptance.
    pub accepted_event_id: i64,
    /// How it ended.
    pub outcome: UpdateOutcome,
}
