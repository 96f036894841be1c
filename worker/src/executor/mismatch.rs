//! Non-determinism: the commands that the code makes against those that the history holds, and the diff between them.

use std::fmt::Write;

use dacapo_core::{
    Command, Event, ParentClosePolicy, command::CancelTarget, event::WorkflowTaskFailedCause, ids::Sequence,
};

use super::{
    difference::Difference,
    failure::{Diverged, TaskFailure, position},
    instance::Instance,
    words::{
        CHANCE, command_kind_and_name, describe_command, describe_event, kind_and_name, missing_patch, patch_of,
        renamed, what_began,
    },
};
use crate::state::Made;

impl Made {
    /// The number of the operation that it gives up.
    pub(super) fn sequence(&self) -> Option<Sequence> {
        match &self.command {
            Command::RequestCancelActivityTask { activity_id } => Some(*activity_id),
            Command::CancelTimer { timer_id } => Some(*timer_id),
            Command::RequestCancelExternalWorkflowExecution { target: CancelTarget::Child(child_id), .. } => {
                Some(*child_id)
            }
            _ => None,
        }
    }

    pub(super) fn is_cancel(&self) -> bool {
        self.sequence().is_some()
    }

    /// Says whether it is worth an event when the code ends in the same task.
    pub(super) fn outlives_its_run(&self) -> bool {
        match &self.command {
            Command::SignalExternalWorkflowExecution { .. }
            | Command::RequestCancelExternalWorkflowExecution { target: CancelTarget::External { .. }, .. }
            | Command::AcceptWorkflowExecutionUpdate { .. }
            | Command::RejectWorkflowExecutionUpdate { .. }
            | Command::CompleteWorkflowExecutionUpdate { .. }
            | Command::RecordMarker { .. }
            | Command::UpsertWorkflowSearchAttributes { .. }
            | Command::ModifyWorkflowProperties { .. } => true,
            Command::RequestCancelExternalWorkflowExecution { target: CancelTarget::Child(_), .. } => self.explicit,
            Command::StartChildWorkflowExecution { options, .. } => {
                options.parent_close_policy == ParentClosePolicy::Abandon
            }
            Command::ScheduleActivityTask { .. }
            | Command::RequestCancelActivityTask { .. }
            | Command::StartTimer { .. }
            | Command::CancelTimer { .. }
            | Command::ContinueAsNewWorkflowExecution { .. }
            | Command::CompleteWorkflowExecution { .. }
            | Command::FailWorkflowExecution { .. }
            | Command::CancelWorkflowExecution { .. } => false,
        }
    }
}

/// Compares the commands of one replayed task with the events that its commands made.
///
/// `completed` is the completion of the task, the event before those of its commands.
pub(super) fn compare(
    instance: &Instance,
    completed: &Event,
    history: &[&Event],
    made: &[Made],
) -> Result<(), TaskFailure> {
    for index in 0..history.len().max(made.len()) {
        match (history.get(index).copied(), made.get(index)) {
            (Some(event), Some(made)) if instance.difference(event, &made.command).is_none() => {}
            (event, command) => {
                return Err(Mismatch { instance, completed, history, made, index, event, command }.failure());
            }
        }
    }
    Ok(())
}

struct Mismatch<'a> {
    instance: &'a Instance,
    completed: &'a Event,
    history: &'a [&'a Event],
    made: &'a [Made],
    index: usize,
    event: Option<&'a Event>,
    command: Option<&'a Made>,
}

impl Mismatch<'_> {
    fn failure(&self) -> TaskFailure {
        let mut text = String::from("the code does not do what the run's history says it did\n  history: ");
        match self.event {
            Some(event) => text.push_str(&describe_event(event)),
            None => text.push_str("no further command in this task"),
        }
        text.push_str("\n  code:    ");
        match self.command {
            Some(made) => text.push_str(&describe_command(&made.command)),
            None => text.push_str("no further command in this task"),
        }
        let at = self.command.and_then(|made| made.at).map(position);
        // Writing to a string never fails.
        if let Some(at) = &at {
            let _ = write!(text, ", made at {at}");
        } else if self.command.is_none() && !self.instance.has_ended() {
            let _ = write!(text, "; it waits for what it began at {}", self.waiting());
        }
        let _ = write!(text, "\n  likely:  {}", self.likely_cause());
        text.push_str(
            "\n  way out: run the build that wrote this history, or keep the old course of the code for runs that are \
             open, with `if ctx.patched(…) { new } else { old }`; the run stays open and goes on with the first build \
             that fits",
        );
        let diverged = Diverged {
            event_id: self.event.map_or(self.completed.event_id + self.history.len() as i64, |event| event.event_id),
            event: self.event.map(describe_event),
            command: self.command.map(|made| describe_command(&made.command)),
        };
        TaskFailure::new(WorkflowTaskFailedCause::NonDeterministic, text).at_position(at).diverged(diverged)
    }

    fn waiting(&self) -> String {
        let calls = self.instance.waiting_calls();
        if calls.is_empty() { "no place that is known (a signal, perhaps)".to_owned() } else { calls.join(", ") }
    }

    fn likely_cause(&self) -> String {
        let (event, command) = match (self.event, self.command) {
            (Some(event), Some(made)) => (event, &made.command),
            (Some(event), None) => {
                if let Some(patch_id) = patch_of(&event.event) {
                    return missing_patch(patch_id);
                }
                return format!(
                    "a call was removed or is made later than before, or this build is older than the one that wrote \
                     the history: {}",
                    what_began(&event.event)
                );
            }
            (None, Some(made)) if made.command.closes() => {
                return "the code ends sooner than before: what came after was removed, or a condition changed".into();
            }
            (None, Some(_)) => return "a call was added to code that open runs have passed already".into(),
            (None, None) => return "nothing differs".into(),
        };
        let difference = self.instance.difference(event, command);
        match difference {
            Some(Difference::Input) => "the input of the call is computed differently, or from something that changes \
                                        with time: a clock, a random number, the order of a `HashMap`"
                .into(),
            Some(Difference::Duration) => "the length of the timer was changed, or is computed from a clock: use \
                                           `ctx.now()` and `ctx.sleep_until(…)`"
                .into(),
            Some(Difference::Result | Difference::Failure) => {
                "the outcome is computed differently, or from something that changes with time".into()
            }
            Some(Difference::Target) => {
                "the other workflow's id is computed differently, or from something that changes with time".into()
            }
            Some(Difference::Kind | Difference::Number | Difference::Name) | None => {
                if let Some(patch_id) = patch_of(&event.event) {
                    missing_patch(patch_id)
                } else if self.appears_later(event, command) {
                    format!("calls were reordered, or their order follows from {CHANCE}")
                } else if difference == Some(Difference::Name) {
                    renamed(&event.event)
                } else if self.history.len() < self.made.len() {
                    "a call was added before this one".into()
                } else if self.history.len() > self.made.len() {
                    "a call was removed before this one".into()
                } else {
                    format!(
                        "calls were replaced by others, or a condition that decides between them changed or follows \
                         from {CHANCE}"
                    )
                }
            }
        }
    }

    /// Says whether what the code does here is what the history says of another place, and the other way round.
    fn appears_later(&self, event: &Event, command: &Command) -> bool {
        let same = |event: &Event, command: &Command| kind_and_name(&event.event) == command_kind_and_name(command);
        !same(event, command)
            && self.history[self.index..].iter().any(|event| same(event, command))
            && self.made[self.index..].iter().any(|made| same(event, &made.command))
    }
}
