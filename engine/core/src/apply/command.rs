//! Commands of workflow code: each makes its one event, after all of them were checked.

use std::sync::Arc;

use super::Turn;
use crate::{
    command::Command,
    event::{
        ActivityTaskScheduled, EventKind, MarkerRecorded, TimerStarted, UpsertWorkflowSearchAttributes,
        WorkflowExecutionCanceled, WorkflowExecutionCompleted, WorkflowPropertiesModified, WorkflowTaskFailedCause,
    },
    transition::{RunAttributes, TimerRow},
};

/// Why commands are refused; nothing of them is appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct RefusedCommand {
    /// The cause to fail the task with.
    pub cause: WorkflowTaskFailedCause,
    /// What is wrong, the limit, and the way out.
    pub problem: String,
}

impl RefusedCommand {
    pub(super) fn bad(problem: String) -> Self {
        Self { cause: WorkflowTaskFailedCause::BadCommand, problem }
    }
}

impl Turn<'_> {
    /// Applies one checked command.
    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::ScheduleActivityTask { activity_id, activity_type, input, options } => {
                let scheduled = ActivityTaskScheduled { activity_id, activity_type, input, options: *options };
                self.push(EventKind::ActivityTaskScheduled(Arc::new(scheduled)));
                self.out.attempts.extend(self.activity_task(activity_id, self.now));
            }
            Command::RequestCancelActivityTask { activity_id } => self.request_cancel(activity_id),
            Command::StartTimer { timer_id, after } => {
                let fire_at = self.now.plus(after);
                self.push(EventKind::TimerStarted(TimerStarted { timer_id, fire_at }));
                self.out.timers.push(TimerRow { timer_id, fire_at });
            }
            Command::CancelTimer { timer_id } => self.cancel_timer(timer_id),
            Command::StartChildWorkflowExecution { .. } => self.start_child(&command),
            Command::SignalExternalWorkflowExecution { signal_id, target, signal_name, input } => {
                self.signal_external(signal_id, target, signal_name, input);
            }
            Command::RequestCancelExternalWorkflowExecution { target, reason } => self.cancel_external(target, reason),
            Command::AcceptWorkflowExecutionUpdate { update_id } => self.accept_update(&update_id),
            Command::RejectWorkflowExecutionUpdate { update_id, failure } => self.reject_update(&update_id, failure),
            Command::CompleteWorkflowExecutionUpdate { update_id, outcome } => self.complete_update(update_id, outcome),
            Command::RecordMarker { marker_id, marker } => {
                self.push(EventKind::MarkerRecorded(Box::new(MarkerRecorded { marker_id, marker })));
            }
            Command::UpsertWorkflowSearchAttributes { search_attributes } => {
                let upserted = UpsertWorkflowSearchAttributes { search_attributes };
                self.push(EventKind::UpsertWorkflowSearchAttributes(upserted));
                self.show_attributes();
            }
            Command::ModifyWorkflowProperties { upserted_memo } => {
                self.push(EventKind::WorkflowPropertiesModified(WorkflowPropertiesModified { upserted_memo }));
                self.show_attributes();
            }
            Command::ContinueAsNewWorkflowExecution { successor } => self.continue_as_new(*successor),
            Command::CompleteWorkflowExecution { result } => {
                self.close(EventKind::WorkflowExecutionCompleted(WorkflowExecutionCompleted { result }), None);
            }
            Command::FailWorkflowExecution { failure } => self.fail_run(*failure),
            Command::CancelWorkflowExecution { details } => {
                self.close(EventKind::WorkflowExecutionCanceled(WorkflowExecutionCanceled { details }), None);
            }
        }
    }

    fn show_attributes(&mut self) {
        let (memo, search_attributes) = (self.run.memo().cloned(), self.run.search_attributes().cloned());
        self.out.attributes = Some(Box::new(RunAttributes { memo, search_attributes }));
    }
}
