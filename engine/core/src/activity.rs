//! What a workflow asks of an activity, and what became of it.

use serde::{Deserialize, Serialize};

use crate::{
    failure::{Failure, TimeoutType},
    ids::{ActivityId, TaskQueue},
    payload::Payload,
    retry::RetryPolicy,
    time::Timestamp,
};

/// What a workflow sees when it cancels an activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum CancellationType {
    /// Asks the activity to stop and goes on at once as if it had.
    #[default]
    TryCancel,
    /// Asks the activity to stop and waits for what it says.
    WaitCancellationCompleted,
    /// Goes on at once and lets the activity run.
    Abandon,
}

/// The options of one activity call; times in milliseconds, absent means the default of `semantics`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityOptions {
    /// Where the activity runs; the workflow's own queue when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_queue: Option<TaskQueue>,
    /// All attempts together, with the waits between them; the run's time when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_to_close_ms: Option<u64>,
    /// The wait of one attempt for a worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_to_start_ms: Option<u64>,
    /// One attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_to_close_ms: Option<u64>,
    /// The longest silence of a running attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_ms: Option<u64>,
    /// How often and how soon a failed attempt is repeated.
    #[serde(default, skip_serializing_if = "RetryPolicy::is_default")]
    pub retry_policy: RetryPolicy,
    /// 1 (first) to 5 (last) within the queue.
    #[serde(default = "middle_priority", skip_serializing_if = "is_middle_priority")]
    pub priority: u8,
}

impl Default for ActivityOptions {
    fn default() -> Self {
        Self {
            task_queue: None,
            schedule_to_close_ms: None,
            schedule_to_start_ms: None,
            start_to_close_ms: None,
            heartbeat_ms: None,
            retry_policy: RetryPolicy::default(),
            priority: MIDDLE_PRIORITY,
        }
    }
}

/// The priority of those who ask for none.
pub const MIDDLE_PRIORITY: u8 = 3;

pub(crate) fn middle_priority() -> u8 {
    MIDDLE_PRIORITY
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
pub(crate) fn is_middle_priority(priority: &u8) -> bool {
    *priority == MIDDLE_PRIORITY
}

impl RetryPolicy {
    /// Says whether it is the policy that applies when none is given.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How one attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActivityResult {
    /// With a value.
    Completed(Payload),
    /// With a failure.
    Failed(Failure),
    /// By a timeout.
    TimedOut {
        /// Which one passed.
        timeout: TimeoutType,
    },
    /// Because it was asked to stop.
    Canceled {
        /// What the activity had to say.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::payload::present")]
        details: Option<Payload>,
    },
}

/// What became of one attempt of an activity, as whoever ran or watched it reports it to the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityOutcome {
    /// The activity.
    pub activity_id: ActivityId,
    /// The attempt; a report about any but the current one is ignored.
    pub attempt: u32,
    /// When the attempt began; absent when it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Who ran it.
    pub identity: String,
    /// What its last heartbeat said; the next attempt begins with it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::payload::present")]
    pub last_heartbeat: Option<Payload>,
    /// How it ended.
    pub result: ActivityResult,
}
