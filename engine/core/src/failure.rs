//! What went wrong in user code or around it, as data: it is stored in histories and given back to workflows.

use serde::{Deserialize, Serialize};

use crate::payload::Payload;

/// Which of an activity's or a workflow's timeouts passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimeoutType {
    /// All attempts together took too long; never retried.
    ScheduleToClose,
    /// No worker took the attempt in time; never retried.
    ScheduleToStart,
    /// One attempt took too long.
    StartToClose,
    /// An attempt was silent for too long.
    Heartbeat,
}

impl TimeoutType {
    /// The option's name as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ScheduleToClose => "schedule-to-close",
            Self::ScheduleToStart => "schedule-to-start",
            Self::StartToClose => "start-to-close",
            Self::Heartbeat => "heartbeat",
        }
    }
}

/// What kind of failure it is; decides whether a retry makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum FailureKind {
    /// User code returned an error.
    #[default]
    Application,
    /// User code panicked.
    Panic,
    /// A timeout passed.
    Timeout(TimeoutType),
    /// It was cancelled.
    Canceled,
    /// The run was terminated.
    Terminated,
    /// The process that ran the attempt disappeared.
    WorkerLost,
    /// A child workflow did not complete; the cause says how.
    ChildWorkflow,
}

/// A failure with its message, type and causes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Failure {
    /// What happened, for people.
    pub message: String,
    /// The error's type, for retry policies and for `match` in workflows; by default the Rust type's or variant's name.
    pub error_type: String,
    /// What kind of failure it is.
    #[serde(default)]
    pub kind: FailureKind,
    /// Whether retrying is pointless whatever the policy says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub non_retryable: bool,
    /// The wait before the next attempt, instead of the policy's, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_retry_delay_ms: Option<u64>,
    /// Data the user attached; for heartbeat timeouts the last heartbeat's details.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::payload::present")]
    pub details: Option<Payload>,
    /// Where in the code it arose, `file:line`, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// The failure behind this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Box<Failure>>,
}

impl Failure {
    /// Makes an application failure of a type with a message.
    pub fn application(error_type: impl Into<String>, message: impl Into<String>) -> Self {
        Self { message: message.into(), error_type: error_type.into(), ..Self::default() }
    }

    /// Makes the failure of a passed timeout.
    pub fn timeout(timeout: TimeoutType, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            error_type: "Timeout".to_owned(),
            kind: FailureKind::Timeout(timeout),
            ..Self::default()
        }
    }

    /// Makes the failure of something that was cancelled.
    pub fn canceled(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            error_type: "Canceled".to_owned(),
            kind: FailureKind::Canceled,
            ..Self::default()
        }
    }

    /// Makes the failure of attempt number `attempt` whose process disappeared: the next one, if the policy allows it,
    /// need not wait, since it was not the activity that failed.
    pub fn lost_attempt(attempt: u32) -> Self {
        let message = format!("the worker that ran attempt {attempt} disappeared; what the attempt did is unknown");
        Self { next_retry_delay_ms: Some(0), ..Self::worker_lost(message) }
    }

    /// Makes the failure of an attempt whose process disappeared.
    pub fn worker_lost(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            error_type: "WorkerLost".to_owned(),
            kind: FailureKind::WorkerLost,
            ..Self::default()
        }
    }
}

/// Why no further attempt follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetryState {
    /// The failure says that retrying is pointless, or its type is listed as such.
    NonRetryableFailure,
    /// The attempts allowed are used up.
    MaximumAttemptsReached,
    /// The next attempt would begin after schedule-to-close or the run's end.
    Timeout,
    /// It was to be cancelled.
    CancelRequested,
    /// There is no retry policy.
    RetryPolicyNotSet,
}

impl std::fmt::Display for RetryState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NonRetryableFailure => "the failure is not retryable",
            Self::MaximumAttemptsReached => "all attempts are used up",
            Self::Timeout => "no time is left for another attempt",
            Self::CancelRequested => "cancellation was requested",
            Self::RetryPolicyNotSet => "there is no retry policy",
        })
    }
}
