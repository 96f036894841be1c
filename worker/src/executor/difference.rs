//! How a command of today's code differs from the event that it made before.
//!
//! What decides about the course of the run must be equal: kind and number of each command, the type of an activity or a
//! child, a timer's length, whom a signal goes to, how the run ends. Inputs and results may gain and lose fields, because
//! types grow while runs are open, but a field that both have must be equal. Options (timeouts, retries, queues,
//! policies) may change freely.

use dacapo_core::{
    Command, Event, EventKind, Failure, Marker, Payload, UpdateOutcome, command::CancelTarget, ids::Sequence,
};
use serde_json::Value;

use super::instance::Instance;
use crate::state::default_child_id;

/// How a command differs from the event in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Difference {
    Kind,
    Number,
    Name,
    Target,
    Input,
    Duration,
    Result,
    Failure,
}

impl Instance {
    /// Compares an event with the command in its place.
    pub(super) fn difference(&self, event: &Event, command: &Command) -> Option<Difference> {
        match (&event.event, command) {
            (
                EventKind::ActivityTaskScheduled(scheduled),
                Command::ScheduleActivityTask { activity_id, activity_type, input, .. },
            ) => number(scheduled.activity_id, *activity_id)
                .or(unless(scheduled.activity_type == *activity_type, Difference::Name))
                .or(unless(agree(&scheduled.input, input), Difference::Input)),
            (EventKind::ActivityTaskCancelRequested(requested), Command::RequestCancelActivityTask { activity_id }) => {
                number(requested.activity_id, *activity_id)
            }
            (EventKind::TimerStarted(started), Command::StartTimer { timer_id, after }) => {
                number(started.timer_id, *timer_id)
                    .or(unless(event.event_time.plus(*after) == started.fire_at, Difference::Duration))
            }
            (EventKind::TimerCanceled(canceled), Command::CancelTimer { timer_id }) => {
                number(canceled.timer_id, *timer_id)
            }
            (EventKind::WorkflowExecutionCompleted(completed), Command::CompleteWorkflowExecution { result }) => {
                unless(agree(&completed.result, result), Difference::Result)
            }
            (EventKind::WorkflowExecutionFailed(failed), Command::FailWorkflowExecution { failure }) => {
                unless(same_failure(&failed.failure, failure), Difference::Failure)
            }
            (EventKind::WorkflowExecutionCanceled(_), Command::CancelWorkflowExecution { .. }) => None,
            (EventKind::WorkflowExecutionContinuedAsNew(it), Command::ContinueAsNewWorkflowExecution { successor }) => {
                let same_type = successor.workflow_type.as_ref().is_none_or(|name| *name == it.workflow_type);
                unless(same_type, Difference::Name).or(unless(agree(&it.input, &successor.input), Difference::Input))
            }
            _ => self.difference_between_runs(event, command),
        }
    }

    fn difference_between_runs(&self, event: &Event, command: &Command) -> Option<Difference> {
        match (&event.event, command) {
            (
                EventKind::StartChildWorkflowExecutionInitiated(it),
                Command::StartChildWorkflowExecution { child_id, workflow_id, workflow_type, input, .. },
            ) => {
                // An id that nobody chose names the run, and may name the one that this one was branched from.
                let chosen = *workflow_id != default_child_id(self.state.info().run_id(), *child_id);
                number(it.child_id, *child_id)
                    .or(unless(it.workflow_type == *workflow_type, Difference::Name))
                    .or(unless(!chosen || it.workflow_id == *workflow_id, Difference::Target))
                    .or(unless(agree(&it.input, input), Difference::Input))
            }
            (
                EventKind::SignalExternalWorkflowExecutionInitiated(it),
                Command::SignalExternalWorkflowExecution { signal_id, target, signal_name, input },
            ) => number(it.signal_id, *signal_id)
                .or(unless(it.signal_name == *signal_name, Difference::Name))
                .or(unless(it.target == *target, Difference::Target))
                .or(unless(agree(&it.input, input), Difference::Input)),
            (
                EventKind::RequestCancelExternalWorkflowExecutionInitiated(it),
                Command::RequestCancelExternalWorkflowExecution { target, .. },
            ) => match target {
                CancelTarget::Child(child_id) => unless(it.child, Difference::Kind).or(number(it.cancel_id, *child_id)),
                CancelTarget::External { cancel_id, target } => unless(!it.child, Difference::Kind)
                    .or(number(it.cancel_id, *cancel_id))
                    .or(unless(it.target == *target, Difference::Target)),
            },
            _ => difference_of_notes(event, command),
        }
    }
}

fn difference_of_notes(event: &Event, command: &Command) -> Option<Difference> {
    match (&event.event, command) {
        (EventKind::MarkerRecorded(it), Command::RecordMarker { marker_id, marker }) => match (&it.marker, marker) {
            (Marker::Patch { patch_id, .. }, Marker::Patch { patch_id: made, .. }) => {
                unless(patch_id == made, Difference::Name)
            }
            (Marker::SideEffect { .. }, Marker::SideEffect { .. }) => number(it.marker_id, *marker_id),
            (Marker::LocalActivity { activity_type, .. }, Marker::LocalActivity { activity_type: made, .. }) => {
                number(it.marker_id, *marker_id).or(unless(activity_type == made, Difference::Name))
            }
            _ => Some(Difference::Kind),
        },
        (
            EventKind::UpsertWorkflowSearchAttributes(it),
            Command::UpsertWorkflowSearchAttributes { search_attributes },
        ) => unless(agree(&it.search_attributes, search_attributes), Difference::Input),
        (EventKind::WorkflowPropertiesModified(it), Command::ModifyWorkflowProperties { upserted_memo }) => {
            unless(agree(&it.upserted_memo, upserted_memo), Difference::Input)
        }
        (EventKind::WorkflowExecutionUpdateAccepted(it), Command::AcceptWorkflowExecutionUpdate { update_id }) => {
            unless(it.request.update_id == *update_id, Difference::Name)
        }
        (
            EventKind::WorkflowExecutionUpdateCompleted(it),
            Command::CompleteWorkflowExecutionUpdate { update_id, outcome },
        ) => unless(it.update_id == *update_id, Difference::Name).or(match (&it.outcome, outcome) {
            (UpdateOutcome::Completed(stored), UpdateOutcome::Completed(made)) => {
                unless(agree(stored, made), Difference::Result)
            }
            (UpdateOutcome::Failed(stored), UpdateOutcome::Failed(made)) => {
                unless(same_failure(stored, made), Difference::Failure)
            }
            (UpdateOutcome::Completed(_), UpdateOutcome::Failed(_))
            | (UpdateOutcome::Failed(_), UpdateOutcome::Completed(_)) => Some(Difference::Result),
        }),
        _ => Some(Difference::Kind),
    }
}

fn unless(equal: bool, difference: Difference) -> Option<Difference> {
    (!equal).then_some(difference)
}

fn number(stored: Sequence, made: Sequence) -> Option<Difference> {
    unless(stored == made, Difference::Number)
}

fn same_failure(stored: &Failure, made: &Failure) -> bool {
    (&stored.error_type, &stored.message) == (&made.error_type, &made.message)
}

/// Says whether two values are equal wherever both have one.
fn agree(stored: &Payload, made: &Payload) -> bool {
    fn within(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Object(a), Value::Object(b)) => {
                a.iter().all(|(key, value)| b.get(key).is_none_or(|other| within(value, other)))
            }
            (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| within(a, b)),
            (a, b) => a == b,
        }
    }
    let parse = |payload: &Payload| serde_json::from_str::<Value>(payload.as_json());
    stored == made || matches!((parse(stored), parse(made)), (Ok(stored), Ok(made)) if within(&stored, &made))
}
