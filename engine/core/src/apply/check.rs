//! Whether the commands of a workflow task may be applied: all of them are looked at before the first makes its event.

use std::collections::BTreeSet;

use super::{RefusedCommand, Turn};
use crate::{
    activity::ActivityOptions,
    command::{CancelTarget, Command, ContinueAsNew},
    event::WorkflowTaskFailedCause,
    ids::{self, ActivityType, RUN_TIMEOUT_TIMER, Sequence},
    limits,
    marker::{LocalActivityOutcome, Marker},
    outbox::ExternalTarget,
    payload::Payload,
    run::{Run, merge},
    update::{UpdateOutcome, UpdateState},
};

/// A run as it will be after the commands looked at so far. Sets hold only what these commands add.
struct Check<'a> {
    run: &'a Run,
    activities: BTreeSet<Sequence>,
    timers: BTreeSet<Sequence>,
    children: BTreeSet<Sequence>,
    signals: BTreeSet<Sequence>,
    cancels: BTreeSet<Sequence>,
    /// Updates that wait for an answer, accepted ones, and those that have ended.
    waiting: Vec<&'a str>,
    accepted: BTreeSet<&'a str>,
    ended: BTreeSet<&'a str>,
    memo: Option<Payload>,
    search_attributes: Option<Payload>,
    events: u64,
    bytes: u64,
}

impl Turn<'_> {
    /// Checks commands against the run and the limits, as if they were applied one after the other.
    pub(super) fn check_commands(&self, commands: &[Command]) -> Result<(), RefusedCommand> {
        let mut check = Check {
            run: self.run,
            activities: BTreeSet::new(),
            timers: BTreeSet::new(),
            children: BTreeSet::new(),
            signals: BTreeSet::new(),
            cancels: BTreeSet::new(),
            waiting: self.updates().map(|(_, request)| request.update_id.as_str()).collect(),
            accepted: BTreeSet::new(),
            ended: BTreeSet::new(),
            memo: None,
            search_attributes: None,
            events: self.run.next_event_id.unsigned_abs(),
            bytes: self.run.history_bytes,
        };
        for (index, command) in commands.iter().enumerate() {
            if command.closes() && index + 1 != commands.len() {
                return bad(format!("{} is followed by other commands", command.name()));
            }
            check.command(command)?;
        }
        if commands.last().is_some_and(Command::closes) {
            return self.check_close();
        }
        check.limits(u64::from(self.local_activities))
    }

    /// A run is not closed over something that its code was not given.
    fn check_close(&self) -> Result<(), RefusedCommand> {
        if !self.run.unseen {
            return Ok(());
        }
        let problem = "something happened while the code ended the run; it is run again with it".to_owned();
        Err(RefusedCommand { cause: WorkflowTaskFailedCause::UnhandledCommand, problem })
    }
}

impl<'a> Check<'a> {
    fn command(&mut self, command: &'a Command) -> Result<(), RefusedCommand> {
        self.events += 1;
        match command {
            Command::ScheduleActivityTask { activity_id, activity_type, input, options } => {
                check_options(activity_type, options)?;
                self.bytes += input.as_json().len() as u64;
                let free = !self.run.activities.contains_key(activity_id) && self.activities.insert(*activity_id);
                in_use(free, "activity", *activity_id)
            }
            Command::StartTimer { timer_id, .. } => {
                let free = *timer_id != RUN_TIMEOUT_TIMER && !self.run.timers.contains_key(timer_id);
                in_use(free && self.timers.insert(*timer_id), "timer", *timer_id)
            }
            Command::CancelTimer { timer_id: RUN_TIMEOUT_TIMER } => bad("timer 0 is the run's own timeout".to_owned()),
            Command::CancelTimer { .. } | Command::RequestCancelActivityTask { .. } => Ok(()),
            Command::StartChildWorkflowExecution { child_id, input, .. } => {
                self.bytes += input.as_json().len() as u64;
                self.child_start(*child_id, command)
            }
            Command::SignalExternalWorkflowExecution { signal_id, target, signal_name, input } => {
                self.bytes += input.as_json().len() as u64;
                check_target(target)?;
                named(ids::validate("signal name", signal_name))?;
                let pending = self.run.rare.as_ref().is_some_and(|it| it.external_signals.contains_key(signal_id));
                in_use(!pending && self.signals.insert(*signal_id), "signal", *signal_id)
            }
            Command::RequestCancelExternalWorkflowExecution { target, .. } => self.cancel(target),
            Command::AcceptWorkflowExecutionUpdate { update_id } => {
                self.answer(update_id)?;
                self.accepted.insert(update_id);
                Ok(())
            }
            Command::RejectWorkflowExecutionUpdate { update_id, .. } => {
                self.events -= 1;
                self.answer(update_id)
            }
            Command::CompleteWorkflowExecutionUpdate { update_id, outcome } => self.complete_update(update_id, outcome),
            Command::RecordMarker { marker, .. } => self.marker(marker),
            Command::UpsertWorkflowSearchAttributes { search_attributes } => {
                check_scalars(search_attributes)?;
                self.search_attributes =
                    Some(merged(self.search_attributes.as_ref().or(self.run.search_attributes()), search_attributes)?);
                self.attributes()
            }
            Command::ModifyWorkflowProperties { upserted_memo } => {
                self.memo = Some(merged(self.memo.as_ref().or(self.run.memo()), upserted_memo)?);
                self.attributes()
            }
            Command::ContinueAsNewWorkflowExecution { successor } => self.successor(successor),
            Command::CompleteWorkflowExecution { .. }
            | Command::FailWorkflowExecution { .. }
            | Command::CancelWorkflowExecution { .. } => Ok(()),
        }
    }

    fn child_start(&mut self, child_id: Sequence, command: &Command) -> Result<(), RefusedCommand> {
        in_use(self.run.child(child_id).is_none() && self.children.insert(child_id), "child", child_id)?;
        let start = super::child::start_of(self.run, command, self.run.last_event_time);
        let Some(Err(error)) = start.map(|start| start.validate()) else { return Ok(()) };
        bad(format!("child {child_id} cannot be started: {error}"))
    }

    fn cancel(&mut self, target: &CancelTarget) -> Result<(), RefusedCommand> {
        let pending = |id| self.run.rare.as_ref().is_some_and(|rare| rare.external_cancels.contains_key(id));
        match target {
            CancelTarget::Child(child_id) => {
                // Asking one that has closed makes no event.
                let child = self.run.child(*child_id);
                if child.is_none() && !self.children.contains(child_id) {
                    return Ok(());
                }
                let asked = child.is_some_and(|child| child.cancel_requested) || pending(child_id);
                if asked || !self.cancels.insert(*child_id) {
                    return bad(format!("child {child_id} was asked to cancel itself already"));
                }
                Ok(())
            }
            CancelTarget::External { cancel_id, target } => {
                check_target(target)?;
                in_use(!pending(cancel_id) && self.cancels.insert(*cancel_id), "cancel", *cancel_id)
            }
        }
    }

    fn answer(&mut self, update_id: &str) -> Result<(), RefusedCommand> {
        match self.waiting.iter().position(|waiting| *waiting == update_id) {
            Some(index) => {
                self.waiting.swap_remove(index);
                Ok(())
            }
            None => bad(format!("update `{update_id}` does not wait for an answer")),
        }
    }

    fn complete_update(&mut self, update_id: &'a str, outcome: &UpdateOutcome) -> Result<(), RefusedCommand> {
        let before = matches!(self.run.update(update_id), Some(UpdateState::Accepted { .. }));
        if !(before || self.accepted.contains(update_id)) || !self.ended.insert(update_id) {
            return bad(format!("update `{update_id}` is not under way"));
        }
        self.bytes += match outcome {
            UpdateOutcome::Completed(value) => value.as_json().len() as u64,
            UpdateOutcome::Failed(failure) => failure.stored_bytes() as u64,
        };
        Ok(())
    }

    fn marker(&mut self, marker: &Marker) -> Result<(), RefusedCommand> {
        self.bytes += marker.user_bytes() as u64;
        match marker {
            Marker::Patch { patch_id, .. } => named(ids::validate("patch id", patch_id)),
            Marker::LocalActivity { activity_type, .. } => {
                named(ids::validate("activity type", activity_type.as_str()))?;
                large("local activity", marker_value(marker))
            }
            Marker::SideEffect { .. } => large("side effect", marker_value(marker)),
        }
    }

    fn attributes(&self) -> Result<(), RefusedCommand> {
        let size = |payload: Option<&Payload>| payload.map_or(0, |payload| payload.as_json().len());
        let search_attributes = self.search_attributes.as_ref().or(self.run.search_attributes());
        let bytes = size(self.memo.as_ref().or(self.run.memo())) + size(search_attributes);
        if bytes > limits::ATTRIBUTES_BYTES_MAX {
            let limit = limits::ATTRIBUTES_BYTES_MAX;
            return bad(format!(
                "memo and search attributes would have {bytes} bytes together, the limit is {limit}: publish larger \
                 values instead"
            ));
        }
        Ok(())
    }

    fn successor(&self, successor: &ContinueAsNew) -> Result<(), RefusedCommand> {
        let start = super::successor::continued(self.run, successor, self.run.last_event_time);
        if let Err(error) = start.validate() {
            return bad(format!("the run cannot continue as new: {error}"));
        }
        let signals = successor.signals.len() as u64;
        check_limit("signals carried over", signals, limits::SIGNALS_MAX)
    }

    fn limits(&self, local_activities: u64) -> Result<(), RefusedCommand> {
        let rare = self.run.rare.as_deref();
        let count = |added: &BTreeSet<Sequence>, before: usize| (before + added.len()) as u64;
        let activities = count(&self.activities, self.run.activities.len());
        let timers = count(&self.timers, self.run.timers.len());
        check_limit("activities without an outcome", activities, limits::PENDING_ACTIVITIES_MAX as u64)?;
        check_limit("local activities that have not ended", local_activities, limits::PENDING_ACTIVITIES_MAX as u64)?;
        check_limit("timers that have not fired", timers, limits::PENDING_TIMERS_MAX as u64)?;
        if !self.children.is_empty() {
            let children = count(&self.children, rare.map_or(0, |rare| rare.children.len()));
            check_limit("children that have not closed", children, limits::PENDING_CHILDREN_MAX as u64)?;
        }
        if !self.signals.is_empty() {
            let signals = count(&self.signals, rare.map_or(0, |rare| rare.external_signals.len()));
            let limit = limits::PENDING_EXTERNAL_SIGNALS_MAX as u64;
            check_limit("signals on their way to other runs", signals, limit)?;
        }
        if !self.cancels.is_empty() {
            let cancels = count(&self.cancels, rare.map_or(0, |rare| rare.external_cancels.len()));
            let limit = limits::PENDING_EXTERNAL_CANCELS_MAX as u64;
            check_limit("requests to cancel on their way to other runs", cancels, limit)?;
        }
        check_limit("events in its history", self.events, limits::HISTORY_EVENTS_MAX.unsigned_abs())?;
        check_limit("bytes in its history", self.bytes, limits::HISTORY_BYTES_MAX)
    }
}

fn bad<T>(problem: String) -> Result<T, RefusedCommand> {
    Err(RefusedCommand::bad(problem))
}

fn named(checked: Result<(), ids::InvalidName>) -> Result<(), RefusedCommand> {
    checked.map_err(|error| RefusedCommand::bad(error.to_string()))
}

fn in_use(free: bool, what: &str, id: Sequence) -> Result<(), RefusedCommand> {
    if free { Ok(()) } else { bad(format!("{what} id {id} is in use")) }
}

fn check_target(target: &ExternalTarget) -> Result<(), RefusedCommand> {
    named(ids::validate("namespace", target.namespace.as_str()))?;
    named(ids::validate("workflow id", target.workflow_id.as_str()))
}

fn check_scalars(attributes: &Payload) -> Result<(), RefusedCommand> {
    crate::start::validate_scalars(attributes).map_err(|error| RefusedCommand::bad(error.to_string()))
}

fn merged(before: Option<&Payload>, changes: &Payload) -> Result<Payload, RefusedCommand> {
    merge(before, changes).map_err(RefusedCommand::bad)
}

fn marker_value(marker: &Marker) -> Option<&Payload> {
    match marker {
        Marker::SideEffect { value } => Some(value),
        Marker::LocalActivity { outcome: LocalActivityOutcome::Completed(value), .. } => Some(value),
        Marker::LocalActivity { outcome: LocalActivityOutcome::Failed(_), .. } | Marker::Patch { .. } => None,
    }
}

fn large(what: &str, value: Option<&Payload>) -> Result<(), RefusedCommand> {
    let bytes = value.map_or(0, |value| value.as_json().len());
    if bytes <= limits::PAYLOAD_BYTES_MAX {
        return Ok(());
    }
    let limit = limits::PAYLOAD_BYTES_MAX;
    bad(format!("the {what} has {bytes} bytes, the limit is {limit}: pass a reference to data kept elsewhere"))
}

fn check_options(activity_type: &ActivityType, options: &ActivityOptions) -> Result<(), RefusedCommand> {
    let bad = |problem: String| bad(format!("activity `{activity_type}` {problem}"));
    named(ids::validate("activity type", activity_type.as_str()))?;
    if let Some(Err(error)) = options.task_queue.as_ref().map(|queue| ids::validate("task queue", queue.as_str())) {
        return bad(format!("cannot be offered: {error}"));
    }
    if options.start_to_close_ms.is_none() && options.schedule_to_close_ms.is_none() {
        return bad("has no timeout: give it start-to-close or schedule-to-close".to_owned());
    }
    let timeouts =
        [options.start_to_close_ms, options.schedule_to_close_ms, options.schedule_to_start_ms, options.heartbeat_ms];
    if timeouts.contains(&Some(0)) {
        return bad("has a timeout of zero: leave it out for none, or give at least 1 ms".to_owned());
    }
    if !(1..=5).contains(&options.priority) {
        return bad(format!("has priority {}: choose 1 (first) to 5 (last)", options.priority));
    }
    Ok(())
}

fn check_limit(what: &str, count: u64, limit: u64) -> Result<(), RefusedCommand> {
    if count <= limit {
        return Ok(());
    }
    bad(format!(
        "the run would have {count} {what}, the limit is {limit}: work in smaller batches, or split the work over \
         several workflows"
    ))
}
