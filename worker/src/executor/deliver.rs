//! What an event means to the code that waits: an outcome, a message, the start.

use dacapo_core::{Event, EventKind, Failure, TimeoutType, event::WorkflowTaskFailedCause, ids::Sequence};

use super::{failure::TaskFailure, instance::Instance};
use crate::state::{RunState, Settled};

impl Instance {
    /// Delivers one event; says whether the code is to be polled.
    pub(super) fn deliver(&mut self, event: &Event) -> Result<bool, TaskFailure> {
        let state = &self.state;
        match &event.event {
            EventKind::WorkflowExecutionStarted(started) => self.start(started)?,
            EventKind::WorkflowExecutionSignaled(signaled) => state.signal(signaled.clone()),
            EventKind::WorkflowExecutionCancelRequested(_) => state.request_cancel(),
            EventKind::TimerFired(fired) => state.settle(fired.timer_id, || Settled::Done),
            EventKind::ActivityTaskCompleted(_)
            | EventKind::ActivityTaskFailed(_)
            | EventKind::ActivityTaskTimedOut(_)
            | EventKind::ActivityTaskCanceled(_) => deliver_activity(state, &event.event),
            EventKind::StartChildWorkflowExecutionFailed(_)
            | EventKind::ChildWorkflowExecutionStarted(_)
            | EventKind::ChildWorkflowExecutionCompleted(_)
            | EventKind::ChildWorkflowExecutionFailed(_)
            | EventKind::ChildWorkflowExecutionCanceled(_)
            | EventKind::ChildWorkflowExecutionTimedOut(_)
            | EventKind::ChildWorkflowExecutionTerminated(_) => deliver_child(state, &event.event),
            EventKind::SignalExternalWorkflowExecutionFailed(failed) => {
                state.settle(failed.signal_id, || Settled::Undelivered(failed.cause));
            }
            EventKind::ExternalWorkflowExecutionSignaled(signaled) => {
                state.settle(signaled.signal_id, || Settled::Done);
            }
            EventKind::RequestCancelExternalWorkflowExecutionFailed(failed) => {
                state.cancel_answered(failed.cancel_id, Settled::Undelivered(failed.cause));
            }
            EventKind::ExternalWorkflowExecutionCancelRequested(requested) => {
                state.cancel_answered(requested.cancel_id, Settled::Done);
            }
            EventKind::WorkflowTaskScheduled(_)
            | EventKind::WorkflowTaskStarted(_)
            | EventKind::WorkflowTaskCompleted(_)
            | EventKind::WorkflowTaskFailed(_)
            | EventKind::WorkflowTaskTimedOut(_)
            | EventKind::ActivityTaskScheduled(_)
            | EventKind::ActivityTaskStarted(_)
            | EventKind::ActivityTaskCancelRequested(_)
            | EventKind::TimerStarted(_)
            | EventKind::TimerCanceled(_)
            | EventKind::StartChildWorkflowExecutionInitiated(_)
            | EventKind::SignalExternalWorkflowExecutionInitiated(_)
            | EventKind::RequestCancelExternalWorkflowExecutionInitiated(_)
            // Requests, markers and attributes come from the code, which is given its own again with their task.
            | EventKind::WorkflowExecutionUpdateAccepted(_)
            | EventKind::WorkflowExecutionUpdateCompleted(_)
            | EventKind::MarkerRecorded(_)
            | EventKind::UpsertWorkflowSearchAttributes(_)
            | EventKind::WorkflowPropertiesModified(_)
            | EventKind::WorkflowExecutionPaused(_)
            | EventKind::WorkflowExecutionUnpaused(_)
            | EventKind::WorkflowExecutionCompleted(_)
            | EventKind::WorkflowExecutionFailed(_)
            | EventKind::WorkflowExecutionTimedOut(_)
            | EventKind::WorkflowExecutionCanceled(_)
            | EventKind::WorkflowExecutionTerminated(_)
            | EventKind::WorkflowExecutionContinuedAsNew(_) => return Ok(false),
        }
        Ok(true)
    }
}

fn deliver_activity(state: &RunState, event: &EventKind) {
    match event {
        EventKind::ActivityTaskCompleted(outcome) => {
            state.settle(outcome.activity_id, || Settled::Completed(outcome.result.clone()));
        }
        EventKind::ActivityTaskFailed(outcome) => state.settle(outcome.activity_id, || Settled::Failed {
            failure: Box::new(outcome.failure.clone()),
            retry_state: Some(outcome.retry_state),
        }),
        EventKind::ActivityTaskTimedOut(outcome) => state.settle(outcome.activity_id, || {
            let message = format!("the {} timeout passed", outcome.timeout_type.as_str());
            let failure = Failure::timeout(outcome.timeout_type, message);
            let failure = Failure { details: outcome.last_heartbeat.clone(), ..failure };
            Settled::Failed { failure: Box::new(failure), retry_state: Some(outcome.retry_state) }
        }),
        EventKind::ActivityTaskCanceled(outcome) => state.settle(outcome.activity_id, || {
            let failure = Failure::canceled("the activity was cancelled");
            let failure = Failure { details: outcome.details.clone(), ..failure };
            Settled::Failed { failure: Box::new(failure), retry_state: None }
        }),
        _ => {}
    }
}

fn deliver_child(state: &RunState, event: &EventKind) {
    let failed = |failure, retry_state| Settled::Failed { failure: Box::new(failure), retry_state };
    match event {
        EventKind::StartChildWorkflowExecutionFailed(failed) => state.settle(failed.child_id, || Settled::NotStarted),
        EventKind::ChildWorkflowExecutionStarted(started) => state.child_started(started.child_id, started.run_id),
        EventKind::ChildWorkflowExecutionCompleted(outcome) => {
            state.settle(outcome.child_id, || Settled::Completed(outcome.result.clone()));
        }
        EventKind::ChildWorkflowExecutionFailed(outcome) => {
            state.settle(outcome.child_id, || failed(outcome.failure.clone(), Some(outcome.retry_state)));
        }
        EventKind::ChildWorkflowExecutionCanceled(outcome) => state.settle(outcome.child_id, || {
            let failure = Failure::canceled("the child was cancelled");
            failed(Failure { details: outcome.details.clone(), ..failure }, None)
        }),
        EventKind::ChildWorkflowExecutionTimedOut(outcome) => state.settle(outcome.child_id, || {
            let failure = Failure::timeout(TimeoutType::StartToClose, "the child took longer than allowed");
            failed(failure, Some(outcome.retry_state))
        }),
        EventKind::ChildWorkflowExecutionTerminated(outcome) => {
            state.settle(outcome.child_id, || failed(Failure::terminated(&outcome.reason), None));
        }
        _ => {}
    }
}

/// Says whether a history was branched off another with this event, a failure of the task that is run anew.
pub(super) fn is_branch(event: &Event) -> bool {
    match &event.event {
        EventKind::WorkflowTaskFailed(failed) => failed.cause == WorkflowTaskFailedCause::ResetWorkflow,
        _ => false,
    }
}

/// Says which operation an event ends, where giving the operation up afterwards makes no event any more.
pub(super) fn outcome_of(event: &Event) -> Option<Sequence> {
    match &event.event {
        EventKind::ActivityTaskCompleted(outcome) => Some(outcome.activity_id),
        EventKind::ActivityTaskFailed(outcome) => Some(outcome.activity_id),
        EventKind::ActivityTaskTimedOut(outcome) => Some(outcome.activity_id),
        EventKind::ActivityTaskCanceled(outcome) => Some(outcome.activity_id),
        EventKind::TimerFired(fired) => Some(fired.timer_id),
        EventKind::StartChildWorkflowExecutionFailed(outcome) => Some(outcome.child_id),
        EventKind::ChildWorkflowExecutionCompleted(outcome) => Some(outcome.child_id),
        EventKind::ChildWorkflowExecutionFailed(outcome) => Some(outcome.child_id),
        EventKind::ChildWorkflowExecutionCanceled(outcome) => Some(outcome.child_id),
        EventKind::ChildWorkflowExecutionTimedOut(outcome) => Some(outcome.child_id),
        EventKind::ChildWorkflowExecutionTerminated(outcome) => Some(outcome.child_id),
        _ => None,
    }
}
