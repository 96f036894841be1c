//! Replay: runs the completed tasks of a history again and compares what the code asks for with what it asked for then.
//!
//! A task's events are those after the start of the completed task before it, up to its own start. Events of tries that
//! failed or timed out are among them, because those tries delivered nothing that lasted. What was appended between a
//! task's start and its completion belongs to the next one, since the code had not seen it.

use dacapo_core::{Event, EventKind, event::WorkflowTaskCompleted};

use super::{failure::TaskFailure, instance::Instance, mismatch, outcome_of};

impl Instance {
    /// Replays the completed tasks of a whole history; gives the events of the task that is still open.
    pub(super) fn replay<'a>(&mut self, events: &'a [Event]) -> Result<&'a [Event], TaskFailure> {
        let mut from = 0;
        let mut search = 0;
        while let Some((completed_index, completed)) = next_completed(events, search) {
            // Ids are dense from 1, so an event's index follows from its id.
            let started_index = (completed.started_event_id - 1) as usize;
            let next = next_completed(events, completed_index + 1).map_or(events.len(), |(index, _)| index);
            let history: Vec<&Event> =
                events[completed_index + 1..next].iter().filter(|event| event.event.is_command()).collect();

            let mut made = self.run_replayed(&events[from..=started_index], events[started_index].event_time)?;
            let unseen = &events[started_index + 1..completed_index];
            // A cancel of what had just ended made no event.
            made.retain(|made| !made.is_cancel() || !unseen.iter().any(|event| outcome_of(event) == made.sequence()));
            mismatch::compare(self, &history, &made)?;

            from = started_index + 1;
            search = completed_index + 1;
        }
        Ok(&events[from..])
    }
}

fn next_completed(events: &[Event], from: usize) -> Option<(usize, &WorkflowTaskCompleted)> {
    events[from..].iter().enumerate().find_map(|(offset, event)| match &event.event {
        EventKind::WorkflowTaskCompleted(completed) => Some((from + offset, completed)),
        _ => None,
    })
}
