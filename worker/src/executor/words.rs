//! Events and commands in words, for the diff between them.

use dacapo_core::{
    Command, Event, EventKind, Marker, Payload, UpdateOutcome, WorkflowType, command::CancelTarget,
    outbox::ExternalTarget,
};

/// The characters of a value that a diff shows.
const EXCERPT_CHARS: usize = 160;

/// What kind of call an event is of, and its name where it has one.
pub(super) fn kind_and_name(event: &EventKind) -> (&str, &str) {
    match event {
        EventKind::ActivityTaskScheduled(scheduled) => ("activity", scheduled.activity_type.as_str()),
        EventKind::TimerStarted(_) => ("timer", ""),
        EventKind::StartChildWorkflowExecutionInitiated(it) => ("child workflow", it.workflow_type.as_str()),
        EventKind::SignalExternalWorkflowExecutionInitiated(it) => ("signal", &it.signal_name),
        EventKind::MarkerRecorded(it) => marker_kind_and_name(&it.marker),
        other => (other.name(), ""),
    }
}

/// The same of a command.
pub(super) fn command_kind_and_name(command: &Command) -> (&str, &str) {
    match command {
        Command::ScheduleActivityTask { activity_type, .. } => ("activity", activity_type.as_str()),
        Command::StartTimer { .. } => ("timer", ""),
        Command::StartChildWorkflowExecution { workflow_type, .. } => ("child workflow", workflow_type.as_str()),
        Command::SignalExternalWorkflowExecution { signal_name, .. } => ("signal", signal_name),
        Command::RecordMarker { marker, .. } => marker_kind_and_name(marker),
        other => (other.name(), ""),
    }
}

fn marker_kind_and_name(marker: &Marker) -> (&str, &str) {
    match marker {
        Marker::SideEffect { .. } => ("side effect", ""),
        Marker::LocalActivity { activity_type, .. } => ("local activity", activity_type.as_str()),
        Marker::Patch { patch_id, .. } => ("patch", patch_id),
    }
}

/// The change to the code that an event records.
pub(super) fn patch_of(event: &EventKind) -> Option<&str> {
    match kind_and_name(event) {
        ("patch", patch_id) => Some(patch_id),
        _ => None,
    }
}

/// What must not decide what comes next, since it comes out differently at every replay.
pub(super) const CHANCE: &str = "a clock, a random number, the order of a `HashMap`, or a `select!` that is not this \
                                 crate's (those of tokio and futures choose by chance)";

/// What to do about a change that an event records and the code does not have.
pub(super) fn missing_patch(patch_id: &str) -> String {
    format!(
        "`ctx.patched(\"{patch_id}\")` went from the code: put `ctx.deprecate_patch(…)` in its place; or this build is \
         older than the one that wrote the history: roll forward"
    )
}

/// What to do about a call that has another name than before.
pub(super) fn renamed(event: &EventKind) -> String {
    let (kind, _) = kind_and_name(event);
    match kind {
        "activity" | "local activity" => format!(
            "the {kind} was renamed or replaced: give it its old name with `#[activity(name = \"…\")]`; or the choice \
             between two follows from {CHANCE}"
        ),
        "child workflow" => format!(
            "the child workflow was renamed or replaced: give it its old name with `#[workflow(name = \"…\")]`; or the \
             choice between two follows from {CHANCE}"
        ),
        kind => format!("another {kind} than before"),
    }
}

pub(super) fn what_began(event: &EventKind) -> String {
    match kind_and_name(event) {
        (kind, "") => kind.to_owned(),
        (kind, name) => format!("{kind} `{name}`"),
    }
}

/// Says what an event is.
pub(super) fn describe_event(event: &Event) -> String {
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
        EventKind::StartChildWorkflowExecutionInitiated(it) => {
            child(it.child_id, &it.workflow_type, it.workflow_id.as_str(), &it.input)
        }
        EventKind::SignalExternalWorkflowExecutionInitiated(it) => {
            signal(it.signal_id, &it.signal_name, &it.target, &it.input)
        }
        EventKind::RequestCancelExternalWorkflowExecutionInitiated(it) if it.child => {
            format!(": child {}", it.cancel_id)
        }
        EventKind::RequestCancelExternalWorkflowExecutionInitiated(it) => {
            format!(": request {} to workflow `{}`", it.cancel_id, it.target.workflow_id)
        }
        EventKind::MarkerRecorded(it) => marker(it.marker_id, &it.marker),
        EventKind::UpsertWorkflowSearchAttributes(it) => format!(": {}", excerpt(&it.search_attributes)),
        EventKind::WorkflowPropertiesModified(it) => format!(": {}", excerpt(&it.upserted_memo)),
        EventKind::WorkflowExecutionUpdateAccepted(it) => {
            format!(": update `{}` ({})", it.request.name, it.request.update_id)
        }
        EventKind::WorkflowExecutionUpdateCompleted(it) => answer(&it.update_id, &it.outcome),
        EventKind::WorkflowExecutionCompleted(completed) => format!(": {}", excerpt(&completed.result)),
        EventKind::WorkflowExecutionFailed(failed) => format!(": {}", failed.failure.message),
        EventKind::WorkflowExecutionContinuedAsNew(it) => {
            format!(": `{}` with input {}", it.workflow_type, excerpt(&it.input))
        }
        _ => String::new(),
    };
    format!("event {} {}{what}", event.event_id, event.event.name())
}

/// Says what a command is.
pub(super) fn describe_command(command: &Command) -> String {
    let what = match command {
        Command::ScheduleActivityTask { activity_id, activity_type, input, .. } => {
            format!(": activity {activity_id} `{activity_type}` with input {}", excerpt(input))
        }
        Command::RequestCancelActivityTask { activity_id } => format!(": activity {activity_id}"),
        Command::StartTimer { timer_id, after } => format!(": timer {timer_id} of {after:?}"),
        Command::CancelTimer { timer_id } => format!(": timer {timer_id}"),
        Command::StartChildWorkflowExecution { child_id, workflow_id, workflow_type, input, .. } => {
            child(*child_id, workflow_type, workflow_id.as_str(), input)
        }
        Command::SignalExternalWorkflowExecution { signal_id, target, signal_name, input } => {
            signal(*signal_id, signal_name, target, input)
        }
        Command::RequestCancelExternalWorkflowExecution { target, .. } => match target {
            CancelTarget::Child(child_id) => format!(": child {child_id}"),
            CancelTarget::External { cancel_id, target } => {
                format!(": request {cancel_id} to workflow `{}`", target.workflow_id)
            }
        },
        Command::RecordMarker { marker_id, marker: recorded } => marker(*marker_id, recorded),
        Command::UpsertWorkflowSearchAttributes { search_attributes } => format!(": {}", excerpt(search_attributes)),
        Command::ModifyWorkflowProperties { upserted_memo } => format!(": {}", excerpt(upserted_memo)),
        Command::AcceptWorkflowExecutionUpdate { update_id } => format!(": update {update_id}"),
        Command::RejectWorkflowExecutionUpdate { update_id, failure } => {
            format!(": update {update_id}: {}", failure.message)
        }
        Command::CompleteWorkflowExecutionUpdate { update_id, outcome } => answer(update_id, outcome),
        Command::CompleteWorkflowExecution { result } => format!(": {}", excerpt(result)),
        Command::FailWorkflowExecution { failure } => format!(": {}", failure.message),
        Command::CancelWorkflowExecution { .. } => String::new(),
        Command::ContinueAsNewWorkflowExecution { successor } => match &successor.workflow_type {
            Some(name) => format!(": `{name}` with input {}", excerpt(&successor.input)),
            None => format!(": with input {}", excerpt(&successor.input)),
        },
    };
    format!("{}{what}", command.name())
}

fn child(id: u64, workflow_type: &WorkflowType, workflow_id: &str, input: &Payload) -> String {
    format!(": child {id} `{workflow_type}` ({workflow_id}) with input {}", excerpt(input))
}

fn signal(id: u64, name: &str, target: &ExternalTarget, input: &Payload) -> String {
    format!(": signal {id} `{name}` to workflow `{}` with {}", target.workflow_id, excerpt(input))
}

fn marker(id: u64, marker: &Marker) -> String {
    match marker {
        Marker::SideEffect { value } => format!(": side effect {id} with {}", excerpt(value)),
        Marker::LocalActivity { activity_type, .. } => format!(": local activity {id} `{activity_type}`"),
        Marker::Patch { patch_id, .. } => format!(": patch `{patch_id}`"),
    }
}

fn answer(update_id: &str, outcome: &UpdateOutcome) -> String {
    match outcome {
        UpdateOutcome::Completed(value) => format!(": update {update_id}: {}", excerpt(value)),
        UpdateOutcome::Failed(failure) => format!(": update {update_id}: {}", failure.message),
    }
}

/// Shows the beginning of a value.
fn excerpt(payload: &Payload) -> String {
    let json = payload.as_json();
    match json.char_indices().nth(EXCERPT_CHARS) {
        Some((end, _)) => format!("{}…", &json[..end]),
        None => json.to_owned(),
    }
}
