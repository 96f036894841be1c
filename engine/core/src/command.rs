//! The commands of workflow code: wishes, in the imperative. Each makes exactly one event; only a cancellation of what
//! has ended in the meantime makes none, which a replay knows from the same history, and the refusal of an update, which
//! leaves no trace.

use std::time::Duration;

use crate::{
    activity::ActivityOptions,
    child::ChildWorkflowOptions,
    event::WorkflowExecutionSignaled,
    failure::Failure,
    ids::{ActivityId, ActivityType, ChildId, ExternalId, Sequence, TaskQueue, TimerId, WorkflowId, WorkflowType},
    marker::Marker,
    outbox::ExternalTarget,
    payload::Payload,
    retry::RetryPolicy,
    update::UpdateOutcome,
};

/// Whom to ask to cancel itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelTarget {
    /// A child. One that has ended in the meantime is not asked, and makes no event.
    Child(ChildId),
    /// Another run.
    External {
        /// The workflow's number for the request.
        cancel_id: ExternalId,
        /// Which run.
        target: ExternalTarget,
    },
}

/// What a run that continues as new hands to its successor; what is absent stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContinueAsNew {
    /// Its workflow type.
    pub workflow_type: Option<WorkflowType>,
    /// Its queue.
    pub task_queue: Option<TaskQueue>,
    /// Its input.
    pub input: Payload,
    /// Its run timeout in milliseconds.
    pub run_timeout_ms: Option<u64>,
    /// Its workflow task timeout in milliseconds.
    pub task_timeout_ms: Option<u64>,
    /// Its retry policy.
    pub retry_policy: Option<RetryPolicy>,
    /// Its notes.
    pub memo: Option<Payload>,
    /// What lists filter it by.
    pub search_attributes: Option<Payload>,
    /// Signals that the code was given and has not received: they are recorded again, before anything else.
    pub signals: Vec<WorkflowExecutionSignaled>,
}

impl ContinueAsNew {
    /// Goes on as it is, with an input.
    pub fn new(input: Payload) -> Self {
        Self {
            workflow_type: None,
            task_queue: None,
            input,
            run_timeout_ms: None,
            task_timeout_ms: None,
            retry_policy: None,
            memo: None,
            search_attributes: None,
            signals: Vec::new(),
        }
    }
}

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
    /// Start a child.
    StartChildWorkflowExecution {
        /// The workflow's number for it.
        child_id: ChildId,
        /// Its workflow id.
        workflow_id: WorkflowId,
        /// Which workflow.
        workflow_type: WorkflowType,
        /// Its input.
        input: Payload,
        /// Queue, timeouts, policies.
        options: Box<ChildWorkflowOptions>,
    },
    /// Signal another run.
    SignalExternalWorkflowExecution {
        /// The workflow's number for it.
        signal_id: ExternalId,
        /// Which run.
        target: ExternalTarget,
        /// The signal's name.
        signal_name: String,
        /// Its value.
        input: Payload,
    },
    /// Ask another run to cancel itself.
    RequestCancelExternalWorkflowExecution {
        /// Which run.
        target: CancelTarget,
        /// Why.
        reason: String,
    },
    /// Take on an update that waits.
    AcceptWorkflowExecutionUpdate {
        /// The update.
        update_id: String,
    },
    /// Refuse an update that waits; makes no event.
    RejectWorkflowExecutionUpdate {
        /// The update.
        update_id: String,
        /// Why.
        failure: Box<Failure>,
    },
    /// End an update that was accepted.
    CompleteWorkflowExecutionUpdate {
        /// The update.
        update_id: String,
        /// How.
        outcome: UpdateOutcome,
    },
    /// Record what must not be computed twice.
    RecordMarker {
        /// The workflow's number for it.
        marker_id: Sequence,
        /// What it holds.
        marker: Marker,
    },
    /// Change what lists filter by.
    UpsertWorkflowSearchAttributes {
        /// The changed ones: a JSON object of scalars, where `null` removes.
        search_attributes: Payload,
    },
    /// Change the notes on the run.
    ModifyWorkflowProperties {
        /// The changed notes: a JSON object, where `null` removes.
        upserted_memo: Payload,
    },
    /// End the run and let another go on under its workflow id.
    ContinueAsNewWorkflowExecution {
        /// What the other is started with.
        successor: Box<ContinueAsNew>,
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
            Self::StartChildWorkflowExecution { .. } => "StartChildWorkflowExecution",
            Self::SignalExternalWorkflowExecution { .. } => "SignalExternalWorkflowExecution",
            Self::RequestCancelExternalWorkflowExecution { .. } => "RequestCancelExternalWorkflowExecution",
            Self::AcceptWorkflowExecutionUpdate { .. } => "AcceptWorkflowExecutionUpdate",
            Self::RejectWorkflowExecutionUpdate { .. } => "RejectWorkflowExecutionUpdate",
            Self::CompleteWorkflowExecutionUpdate { .. } => "CompleteWorkflowExecutionUpdate",
            Self::RecordMarker { .. } => "RecordMarker",
            Self::UpsertWorkflowSearchAttributes { .. } => "UpsertWorkflowSearchAttributes",
            Self::ModifyWorkflowProperties { .. } => "ModifyWorkflowProperties",
            Self::ContinueAsNewWorkflowExecution { .. } => "ContinueAsNewWorkflowExecution",
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
                | Self::ContinueAsNewWorkflowExecution { .. }
        )
    }
}
