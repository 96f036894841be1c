//! Replay: runs the completed tasks of a history again and compares what the code asks for with what it asked for then.
//!
//! A task's events are those after the start of the completed task before it, up to its own start. Events of tries that
//! failed or timed out are among them, because those tries delivered nothing that lasted. What was appended between a
//! task's start and its completion belongs to the next one, since the code had not seen it.

use dacapo_core::{Command, Event, EventKind, Marker, event::WorkflowTaskCompleted};

use super::{deliver::outcome_of, failure::TaskFailure, instance::Instance, mismatch};
use crate::state::{Made, TaskRecord};

/// A completed task of a history, by the places of its events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recorded {
    /// The first event that it delivered.
    from: usize,
    /// Its start, the last event that it delivered.
    started: usize,
    /// Its completion.
    completed: usize,
    /// The completion of the task after it, or the end of the history.
    next: usize,
}

impl Recorded {
    /// Finds the completed tasks of a history.
    pub(super) fn all(events: &[Event]) -> impl Iterator<Item = Self> {
        let mut from = 0;
        let mut search = 0;
        std::iter::from_fn(move || {
            let (completed, task) = next_completed(events, search)?;
            // Ids are dense from 1, so an event's index follows from its id.
            let started = (task.started_event_id - 1) as usize;
            let next = next_completed(events, completed + 1).map_or(events.len(), |(index, _)| index);
            let recorded = Self { from, started, completed, next };
            (from, search) = (started + 1, completed + 1);
            Some(recorded)
        })
    }
}

impl Instance {
    /// Replays the completed tasks of a whole history; gives the events of the task that is still open.
    pub(super) fn replay<'a>(&mut self, events: &'a [Event]) -> Result<&'a [Event], TaskFailure> {
        let mut rest = 0;
        for task in Recorded::all(events) {
            self.repeat(events, task, true)?;
            rest = task.started + 1;
        }
        Ok(&events[rest..])
    }

    /// Runs a task again and compares; without `replaying` as it was run the first time, but without its traces.
    pub(super) fn repeat(&mut self, events: &[Event], task: Recorded, replaying: bool) -> Result<(), TaskFailure> {
        let Recorded { from, started, completed, next } = task;
        let mut history: Vec<&Event> =
            events[completed + 1..next].iter().filter(|event| event.event.is_command()).collect();
        let mut made = self.run_silently(&events[from..=started], TaskRecord::of(&history), replaying)?;
        let unseen = &events[started + 1..completed];
        // A cancel of what had just ended made no event.
        made.retain(|made| !made.is_cancel() || !unseen.iter().any(|event| outcome_of(event) == made.sequence()));
        // A change whose place in the code is gone may stay in histories.
        history.retain(|event| deprecated_patch(event).is_none_or(|patch_id| records_patch(&made, patch_id)));
        mismatch::compare(self, &events[completed], &history, &made)
    }
}

fn deprecated_patch(event: &Event) -> Option<&str> {
    let EventKind::MarkerRecorded(recorded) = &event.event else { return None };
    match &recorded.marker {
        Marker::Patch { patch_id, deprecated: true } => Some(patch_id),
        Marker::Patch { .. } | Marker::SideEffect { .. } | Marker::LocalActivity { .. } => None,
    }
}

fn records_patch(made: &[Made], patch_id: &str) -> bool {
    made.iter().any(|made| match &made.command {
        Command::RecordMarker { marker: Marker::Patch { patch_id: recorded, .. }, .. } => recorded == patch_id,
        _ => false,
    })
}

fn next_completed(events: &[Event], from: usize) -> Option<(usize, &WorkflowTaskCompleted)> {
    events[from..].iter().enumerate().find_map(|(offset, event)| match &event.event {
        EventKind::WorkflowTaskCompleted(completed) => Some((from + offset, completed)),
        _ => None,
    })
}
