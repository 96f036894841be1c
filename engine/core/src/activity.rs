//! What a workflow asks of an activity, and what became of it.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    failure::{Failure, TimeoutType},
    ids::{ActivityId, MessageId, RunId, RunKey, Shard, TaskQueue},
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
    /// It did not: whoever holds the attempt's [`ActivityToken`] completes it later.
    CompletesAsynchronously,
}

/// Names one attempt of an activity to whoever completes it from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ActivityToken {
    /// The run.
    pub run: RunKey,
    /// The activity.
    pub activity_id: ActivityId,
    /// The attempt; once it is over, the token names nothing.
    pub attempt: u32,
}

impl fmt::Display for ActivityToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}", self.run.shard.0, self.run.run_id, self.activity_id, self.attempt)
    }
}

/// A text that is no [`ActivityToken`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no activity token: use what the activity was given")]
pub struct InvalidActivityToken {
    /// The text.
    pub text: String,
}

impl FromStr for ActivityToken {
    type Err = InvalidActivityToken;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('.');
        let mut token = || {
            let shard = Shard(parts.next()?.parse().ok()?);
            let run_id = parts.next()?.parse().ok()?;
            let (activity_id, attempt) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            parts.next().is_none().then_some(Self { run: RunKey { shard, run_id }, activity_id, attempt })
        };
        token().ok_or_else(|| InvalidActivityToken { text: text.to_owned() })
    }
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
    pub identity: Arc<str>,
    /// What its last heartbeat said; the next attempt begins with it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::payload::present")]
    pub last_heartbeat: Option<Payload>,
    /// How it ended.
    pub result: ActivityResult,
}

impl ActivityOutcome {
    /// The id of the message that reports it to run `run_id`: the same however often it is sent.
    pub fn message_id(&self, run_id: RunId) -> MessageId {
        match self.result {
            ActivityResult::CompletesAsynchronously => {
                MessageId::activity_asynchronous(run_id, self.activity_id, self.attempt)
            }
            ActivityResult::Completed(_)
            | ActivityResult::Failed(_)
            | ActivityResult::TimedOut { .. }
            | ActivityResult::Canceled { .. } => MessageId::activity_outcome(run_id, self.activity_id, self.attempt),
        }
    }
}
