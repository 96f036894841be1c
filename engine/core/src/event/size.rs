//! How large a history is, near enough for a limit: what users put in, and a fixed share for the rest.

use super::{EventKind, WorkflowExecutionStarted};
use crate::{failure::Failure, payload::Payload, update::UpdateOutcome};

/// The JSON of an event without user data: ids, times, names; most have between 100 and 200 bytes.
const EVENT_BYTES: usize = 150;

impl EventKind {
    /// The bytes that the event adds to a history: its user data, and a fixed share for names, ids and times.
    pub fn stored_bytes(&self) -> u64 {
        (EVENT_BYTES + self.user_bytes()) as u64
    }

    fn user_bytes(&self) -> usize {
        match self {
            Self::WorkflowExecutionStarted(it) => it.user_bytes(),
            Self::WorkflowExecutionSignaled(it) => it.signal_name.len() + it.input.as_json().len(),
            Self::WorkflowExecutionCancelRequested(it) => it.reason.len(),
            Self::WorkflowExecutionTerminated(it) => it.reason.len(),
            Self::WorkflowTaskFailed(it) => it.failure.stored_bytes(),
            Self::WorkflowTaskTimedOut(it) => it.failure.stored_bytes(),
            Self::ActivityTaskScheduled(it) => it.input.as_json().len(),
            Self::ActivityTaskStarted(it) => it.last_failure.as_deref().map_or(0, Failure::stored_bytes),
            Self::ActivityTaskCompleted(it) => it.result.as_json().len(),
            Self::ActivityTaskFailed(it) => it.failure.stored_bytes(),
            Self::ActivityTaskTimedOut(it) => bytes(it.last_heartbeat.as_ref()),
            Self::ActivityTaskCanceled(it) => bytes(it.details.as_ref()),
            Self::WorkflowExecutionCompleted(it) => it.result.as_json().len(),
            Self::WorkflowExecutionFailed(it) => it.failure.stored_bytes(),
            Self::WorkflowExecutionCanceled(it) => bytes(it.details.as_ref()),
            Self::StartChildWorkflowExecutionInitiated(it) => {
                let options = &it.options;
                it.input.as_json().len() + bytes(options.memo.as_ref()) + bytes(options.search_attributes.as_ref())
            }
            Self::ChildWorkflowExecutionCompleted(it) => it.result.as_json().len(),
            Self::ChildWorkflowExecutionFailed(it) => it.failure.stored_bytes(),
            Self::ChildWorkflowExecutionCanceled(it) => bytes(it.details.as_ref()),
            Self::ChildWorkflowExecutionTerminated(it) => it.reason.len(),
            Self::SignalExternalWorkflowExecutionInitiated(it) => it.signal_name.len() + it.input.as_json().len(),
            Self::RequestCancelExternalWorkflowExecutionInitiated(it) => it.reason.len(),
            Self::WorkflowExecutionUpdateAccepted(it) => it.request.name.len() + it.request.input.as_json().len(),
            Self::WorkflowExecutionUpdateCompleted(it) => match &it.outcome {
                UpdateOutcome::Completed(value) => value.as_json().len(),
                UpdateOutcome::Failed(failure) => failure.stored_bytes(),
            },
            Self::MarkerRecorded(it) => it.marker.user_bytes(),
            Self::UpsertWorkflowSearchAttributes(it) => it.search_attributes.as_json().len(),
            Self::WorkflowPropertiesModified(it) => it.upserted_memo.as_json().len(),
            Self::WorkflowExecutionPaused(it) => it.reason.len(),
            Self::WorkflowExecutionUnpaused(it) => it.reason.len(),
            Self::WorkflowExecutionContinuedAsNew(it) => it.input.as_json().len(),
            Self::WorkflowTaskScheduled(_)
            | Self::WorkflowTaskStarted(_)
            | Self::WorkflowTaskCompleted(_)
            | Self::ActivityTaskCancelRequested(_)
            | Self::TimerStarted(_)
            | Self::TimerFired(_)
            | Self::TimerCanceled(_)
            | Self::StartChildWorkflowExecutionFailed(_)
            | Self::ChildWorkflowExecutionStarted(_)
            | Self::ChildWorkflowExecutionTimedOut(_)
            | Self::SignalExternalWorkflowExecutionFailed(_)
            | Self::ExternalWorkflowExecutionSignaled(_)
            | Self::RequestCancelExternalWorkflowExecutionFailed(_)
            | Self::ExternalWorkflowExecutionCancelRequested(_)
            | Self::WorkflowExecutionTimedOut(_) => 0,
        }
    }
}

impl WorkflowExecutionStarted {
    /// The time the run may take from the end of its start delay: the shorter of its two timeouts.
    pub fn timeout_ms(&self) -> Option<u64> {
        [self.workflow_run_timeout_ms, self.workflow_execution_timeout_ms].into_iter().flatten().min()
    }

    fn user_bytes(&self) -> usize {
        self.input.as_json().len() + bytes(self.memo.as_ref()) + bytes(self.search_attributes.as_ref())
    }
}

impl Failure {
    pub(crate) fn stored_bytes(&self) -> usize {
        let cause = self.cause.as_deref().map_or(0, Self::stored_bytes);
        self.message.len() + self.error_type.len() + bytes(self.details.as_ref()) + cause
    }
}

fn bytes(payload: Option<&Payload>) -> usize {
    payload.map_or(0, |payload| payload.as_json().len())
}
