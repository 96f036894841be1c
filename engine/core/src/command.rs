//! The commands of workflow code: wishes, in the imperative. Each makes exactly one event; only a cancellation of what
//! has ended in the meantime makes none, which a replay knows from the same history.

use std::time::Duration;

use crate::{
    activity::ActivityOptions,
    failure::Failure,
    ids::{ActivityId, ActivityType, TimerId},
    payload::Payload,
};

/// What workflow code asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Run an activity.
    ScheduleActivityTask {
        /// The workflow's number for it.
        activity_id: ActivityId,
        /// Which activity.
        activity_type: ActivityType,
        /// Its input.
        input: Payload,
        /// Timeouts, retries, queue.
        options: Box<ActivityOptions>,
    },
    /// Ask a running activity to stop.
    RequestCancelActivityTask {
        /// The activity.
        activity_id: ActivityId,
    },
    /// Set a timer.
    StartTimer {
        /// The workflow's number for it.
        timer_id: TimerId,
        /// How long from the start of this workflow task.
        after: Duration,
    },
    /// Give up a timer.
    CancelTimer {
        /// The timer.
        timer_id: TimerId,
    },
    /// End the run with a value.
    CompleteWorkflowExecution {
        /// The value.
        result: Payload,
    },
    /// End the run with a failure.
    FailWorkflowExecution {
        /// The failure.
        failure: Box<Failure>,
    },
    /// End the run after a request to cancel.
    CancelWorkflowExecution {
        /// What the workflow has to say.
        details: Option<Payload>,
    },
}

impl Command {
    /// The command's name as shown in errors.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ScheduleActivityTask { .. } => "ScheduleActivityTask",
            Self::RequestCancelActivityTask { .. } => "RequestCancelActivityTask",
            Self::StartTimer { .. } => "StartTimer",
            Self::CancelTimer { .. } => "CancelTimer",
            Self::CompleteWorkflowExecution { .. } => "CompleteWorkflowExecution",
            Self::FailWorkflowExecution { .. } => "FailWorkflowExecution",
            Self::CancelWorkflowExecution { .. } => "CancelWorkflowExecution",
        }
    }

    /// Says whether the command ends the run.
    pub fn closes(&self) -> bool {
        matches!(
            self,
            Self::CompleteWorkflowExecution { .. }
                | Self::FailWorkflowExecution { .. }
                | Self::CancelWorkflowExecution { .. }
        )
    }
}
