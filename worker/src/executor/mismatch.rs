//! Non-determinism: the commands that the code makes against those that the history holds, and the diff between them.
//!
//! What decides about the course of the run must be equal: kind and number of each command, an activity's type, a
//! timer's length, how the run ends. Inputs and results may gain and lose fields, because types grow while runs are
//! open, but a field that both have must be equal. Options of activities (timeouts, retries, queue) may change freely.

use std::fmt::Write;

use dacapo_core::{Command, Event, EventKind, Failure, Payload, event::WorkflowTaskFailedCause, ids::Sequence};
use serde_json::Value;

use super::{
    failure::{Diverged, TaskFailure, position},
    instance::Instance,
};
use crate::state::Made;

/// The characters of a value that a diff shows.
const EXCERPT_CHARS: usize = 160;

impl Made {
    /// The number of the operation that it begins or ends.
    pub(super) fn sequence(&self) -> Option<Sequence> {
        match &self.command {
            Command::ScheduleActivityTask { activity_id, .. } | Command::RequestCancelActivityTask { activity_id } => {
                Some(*activity_id)
            }
            Command::StartTimer { timer_id, .. } | Command::CancelTimer { timer_id } => Some(*timer_id),
            Command::CompleteWorkflowExecution { .. }
            | Command::FailWorkflowExecution { .. }
            | Command::CancelWorkflowExecution { .. }
            // No call of this SDK makes these.
            | Command::StartChildWorkflowExecution { .. }
            | Command::SignalExternalWorkflowExecution { .. }
            | Command::RequestCancelExternalWorkflowExecution { .. }
            | Command::AcceptWorkflowExecutionUpdate { .. }
            | Command::RejectWorkflowExecutionUpdate { .. }
            | Command::CompleteWorkflowExecutionUpdate { .. }
            | Command::RecordMarker { .. }
            | Command::UpsertWorkflowSearchAttributes { .. }
            | Command::ModifyWorkflowProperties { .. }
            | Command::ContinueAsNewWorkflowExecution { .. } => None,
        }
    }

    pub(super) fn is_cancel(&self) -> bool {
        matches!(self.command, Command::RequestCancelActivityTask { .. } | Command::CancelTimer { .. })
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
            (Some(event), Some(made)) if difference(event, &made.command).is_none() => {}
            (event, command) => {
                return Err(Mismatch { instance, completed, history, made, index, event, command }.failure());
            }
        }
    }
    Ok(())
}

/// How a command differs from the event in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Difference {
    Kind,
    Number,
    ActivityType,
    Input,
    Duration,
    Result,
    Failure,
}

fn difference(event: &Event, command: &Command) -> Option<Difference> {
    let number = |a: Sequence, b: Sequence| (a != b).then_some(Difference::Number);
    match (&event.event, command) {
        (
            EventKind::ActivityTaskScheduled(scheduled),
            Command::ScheduleActivityTask { activity_id, activity_type, input, .. },
        ) => number(scheduled.activity_id, *activity_id)
            .or((scheduled.activity_type != *activity_type).then_some(Difference::ActivityType))
            .or((!agree(&scheduled.input, input)).then_some(Difference::Input)),
        (EventKind::ActivityTaskCancelRequested(requested), Command::RequestCancelActivityTask { activity_id }) => {
            number(requested.activity_id, *activity_id)
        }
        (EventKind::TimerStarted(started), Command::StartTimer { timer_id, after }) => {
            number(started.timer_id, *timer_id)
                .or((event.event_time.plus(*after) != started.fire_at).then_some(Difference::Duration))
        }
        (EventKind::TimerCanceled(canceled), Command::CancelTimer { timer_id }) => number(canceled.timer_id, *timer_id),
        (EventKind::WorkflowExecutionCompleted(completed), Command::CompleteWorkflowExecution { result }) => {
            (!agree(&completed.result, result)).then_some(Difference::Result)
        }
        (EventKind::WorkflowExecutionFailed(failed), Command::FailWorkflowExecution { failure }) => {
            let said = |failure: &Failure| (failure.error_type.clone(), failure.message.clone());
            (said(&failed.failure) != said(failure)).then_some(Difference::Failure)
        }
        (EventKind::WorkflowExecutionCanceled(_), Command::CancelWorkflowExecution { .. }) => None,
        _ => Some(Difference::Kind),
    }
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
            "\n  way out: run the build that wrote this history, or restore the old course of the code for runs that \
             are open; the run stays open and goes on with the first build that fits",
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
                return format!("a call was removed or is made later than before: {}", what_began(&event.event));
            }
            (None, Some(made)) if made.command.closes() => {
                return "the code ends sooner than before: what came after was removed, or a condition changed".into();
            }
            (None, Some(_)) => return "a call was added to code that open runs have passed already".into(),
            (None, None) => return "nothing differs".into(),
        };
        let difference = difference(event, command);
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
            Some(Difference::Kind | Difference::Number | Difference::ActivityType) | None => {
                if self.appears_later(event, command) {
                    "calls were reordered".into()
                } else if difference == Some(Difference::ActivityType) {
                    "the activity was renamed or replaced: give it its old name with `#[activity(name = \"…\")]`".into()
                } else if self.history.len() < self.made.len() {
                    "a call was added before this one".into()
                } else if self.history.len() > self.made.len() {
                    "a call was removed before this one".into()
                } else {
                    "calls were replaced by others, or a condition that decides between them changed".into()
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

fn kind_and_name(event: &EventKind) -> (&str, &str) {
    match event {
        EventKind::ActivityTaskScheduled(scheduled) => ("activity", scheduled.activity_type.as_str()),
        EventKind::TimerStarted(_) => ("timer", ""),
        other => (other.name(), ""),
    }
}

fn command_kind_and_name(command: &Command) -> (&str, &str) {
    match command {
        Command::ScheduleActivityTask { activity_type, .. } => ("activity", activity_type.as_str()),
        Command::StartTimer { .. } => ("timer", ""),
        other => (other.name(), ""),
    }
}

fn what_began(event: &EventKind) -> String {
    match kind_and_name(event) {
        (kind, "") => kind.to_owned(),
        (kind, name) => format!("{kind} `{name}`"),
    }
}

fn describe_event(event: &Event) -> String {
    let what = match &event.event {
        EventKind::ActivityTaskScheduled(scheduled) => {
            let (id, input) = (scheduled.activity_id, excerpt(&scheduled.input));
            format!(": activity {id} `{}` with input {input}", scheduled.activity_type)
        }
        EventKind::ActivityTaskCancelRequested(requested) => format!(": activity {}", requested.activity_id),
        EventKind::TimerStarted(started) => {
            format!(": timer {} of {:?}", started.timer_id, started.fire_at.since(event.event_time))
        }
        EventKind::TimerCanceled(canceled) => format!(": timer {}", canceled.timer_id),
        EventKind::WorkflowExecutionCompleted(completed) => format!(": {}", excerpt(&completed.result)),
        EventKind::WorkflowExecutionFailed(failed) => format!(": {}", failed.failure.message),
        _ => String::new(),
    };
    format!("event {} {}{what}", event.event_id, event.event.name())
}

fn describe_command(command: &Command) -> String {
    let what = match command {
        Command::ScheduleActivityTask { activity_id, activity_type, input, .. } => {
            format!(": activity {activity_id} `{activity_type}` with input {}", excerpt(input))
        }
        Command::RequestCancelActivityTask { activity_id } => format!(": activity {activity_id}"),
        Command::StartTimer { timer_id, after } => format!(": timer {timer_id} of {after:?}"),
        Command::CancelTimer { timer_id } => format!(": timer {timer_id}"),
        Command::CompleteWorkflowExecution { result } => format!(": {}", excerpt(result)),
        Command::FailWorkflowExecution { failure } => format!(": {}", failure.message),
        Command::CancelWorkflowExecution { .. }
        // No call of this SDK makes these.
        | Command::StartChildWorkflowExecution { .. }
        | Command::SignalExternalWorkflowExecution { .. }
        | Command::RequestCancelExternalWorkflowExecution { .. }
        | Command::AcceptWorkflowExecutionUpdate { .. }
        | Command::RejectWorkflowExecutionUpdate { .. }
        | Command::CompleteWorkflowExecutionUpdate { .. }
        | Command::RecordMarker { .. }
        | Command::UpsertWorkflowSearchAttributes { .. }
        | Command::ModifyWorkflowProperties { .. }
        | Command::ContinueAsNewWorkflowExecution { .. } => String::new(),
    };
    format!("{}{what}", command.name())
}

fn excerpt(payload: &Payload) -> String {
    let json = payload.as_json();
    match json.char_indices().nth(EXCERPT_CHARS) {
        Some((end, _)) => format!("{}…", &json[..end]),
        None => json.to_owned(),
    }
}
