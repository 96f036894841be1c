//! What happens to activities.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    activity::ActivityOptions,
    failure::{Failure, RetryState, TimeoutType},
    ids::{ActivityId, ActivityType},
    payload::Payload,
    time::Timestamp,
};

/// Attributes of [`EventKind::ActivityTaskScheduled`](super::EventKind::ActivityTaskScheduled).
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

/// Attributes of [`EventKind::ActivityTaskStarted`](super::EventKind::ActivityTaskStarted).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityTaskStarted {
    /// The activity.
    pub activity_id: ActivityId,
    /// Its scheduling.
    pub scheduled_event_id: i64,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Who ran it.
    pub identity: Arc<str>,
    /// When the attempt began.
    pub started_at: Timestamp,
    /// How the attempt before this one failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Box<Failure>>,
}

/// Attributes of [`EventKind::ActivityTaskCompleted`](super::EventKind::ActivityTaskCompleted).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityTaskCompleted {
    /// The activity.
    pub activity_id: ActivityId,
    /// Its scheduling.
    pub scheduled_event_id: i64,
    /// Its value.
    pub result: Payload,
}

/// Attributes of [`EventKind::ActivityTaskFailed`](super::EventKind::ActivityTaskFailed).
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

/// Attributes of [`EventKind::ActivityTaskTimedOut`](super::EventKind::ActivityTaskTimedOut).
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
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::payload::present")]
    pub last_heartbeat: Option<Payload>,
}

/// Attributes of [`EventKind::ActivityTaskCancelRequested`](super::EventKind::ActivityTaskCancelRequested).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityTaskCancelRequested {
    /// The activity.
    pub activity_id: ActivityId,
    /// Its scheduling.
    pub scheduled_event_id: i64,
}

/// Attributes of [`EventKind::ActivityTaskCanceled`](super::EventKind::ActivityTaskCanceled).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityTaskCanceled {
    /// The activity.
    pub activity_id: ActivityId,
    /// Its scheduling.
    pub scheduled_event_id: i64,
    /// What the activity had to say.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::payload::present")]
    pub details: Option<Payload>,
}
