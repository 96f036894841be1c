//! Where a branch begins: what a user names, as a number of copied events.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::InvalidBranch;
use crate::{
    event::{Event, EventKind},
    ids::ActivityId,
};

/// Where a branch begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResetPoint {
    /// A start or an end of a workflow task: that task is run again.
    Event(i64),
    /// The first workflow task: everything is done again.
    FirstWorkflowTask,
    /// The last workflow task that was completed.
    LastWorkflowTask,
    /// The workflow task that asked for the first activity of this type.
    BeforeActivity(String),
    /// Right before the failure of this activity: it gets all its attempts once more, and what was recorded earlier stays.
    BeforeFailure(ActivityId),
}

impl fmt::Display for ResetPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(event_id) => write!(f, "event {event_id}"),
            Self::FirstWorkflowTask => f.write_str("the first workflow task"),
            Self::LastWorkflowTask => f.write_str("the last workflow task"),
            Self::BeforeActivity(activity_type) => write!(f, "the first activity `{activity_type}`"),
            Self::BeforeFailure(activity_id) => write!(f, "the failure of activity {activity_id}"),
        }
    }
}

/// Finds how many events are copied for a point.
pub(super) fn cut_at(history: &[Event], point: &ResetPoint) -> Result<usize, InvalidBranch> {
    let missing = |problem: &str| InvalidBranch::NoSuchPoint { point: point.clone(), problem: problem.to_owned() };
    let starts = |event: &&Event| matches!(event.event, EventKind::WorkflowTaskStarted(_));
    let first = || history.iter().find(starts).map(|event| event.event_id);
    let no_task = "the history has no workflow task yet: wait until a worker has run the code, or look for one that \
                   serves the queue";
    match point {
        ResetPoint::Event(event_id) => cut_at_event(history, *event_id),
        ResetPoint::FirstWorkflowTask => cut_at_event(history, first().ok_or_else(|| missing(no_task))?),
        ResetPoint::LastWorkflowTask => {
            let completed = |event: &&Event| matches!(event.event, EventKind::WorkflowTaskCompleted(_));
            let last = history.iter().rfind(completed).map(|event| event.event_id);
            cut_at_event(history, last.or_else(first).ok_or_else(|| missing(no_task))?)
        }
        ResetPoint::BeforeActivity(activity_type) => {
            let asked = |event: &Event| match &event.event {
                EventKind::ActivityTaskScheduled(it) => it.activity_type.as_str() == activity_type,
                _ => false,
            };
            let place = history.iter().position(asked).ok_or_else(|| missing(&known_activities(history)))?;
            let task = history[..place].iter().rfind(starts).map(|event| event.event_id);
            cut_at_event(history, task.ok_or_else(|| missing(no_task))?)
        }
        ResetPoint::BeforeFailure(activity_id) => {
            let failed = |event: &Event| match &event.event {
                EventKind::ActivityTaskFailed(it) => it.activity_id == *activity_id,
                EventKind::ActivityTaskTimedOut(it) => it.activity_id == *activity_id,
                _ => false,
            };
            let place = history
                .iter()
                .rposition(failed)
                .ok_or_else(|| missing("that activity has not failed: name another one, or reset to an event"))?;
            Ok(place - usize::from(began_before(history, place, *activity_id)))
        }
    }
}

/// Whether the event before an outcome says that the last attempt began.
pub(super) fn began_before(history: &[Event], outcome: usize, activity_id: ActivityId) -> bool {
    outcome.checked_sub(1).and_then(|before| history.get(before)).is_some_and(
        |event| matches!(&event.event, EventKind::ActivityTaskStarted(it) if it.activity_id == activity_id),
    )
}

/// Up to the start of the workflow task at an event.
fn cut_at_event(history: &[Event], event_id: i64) -> Result<usize, InvalidBranch> {
    let event = usize::try_from(event_id - 1).ok().and_then(|index| history.get(index));
    let started_event_id = event.and_then(|event| match &event.event {
        EventKind::WorkflowTaskStarted(_) => Some(event.event_id),
        EventKind::WorkflowTaskCompleted(it) => Some(it.started_event_id),
        EventKind::WorkflowTaskFailed(it) => Some(it.started_event_id),
        EventKind::WorkflowTaskTimedOut(it) => Some(it.started_event_id),
        _ => None,
    });
    let cut = started_event_id.and_then(|started| usize::try_from(started).ok());
    cut.filter(|cut| *cut <= history.len()).ok_or_else(|| {
        let starts = |event: &&Event| matches!(event.event, EventKind::WorkflowTaskStarted(_));
        let before = history.iter().filter(starts).take_while(|event| event.event_id <= event_id).last();
        let near = before.or_else(|| history.iter().find(starts));
        let hint = near.map_or("the history has none".to_owned(), |near| format!("try event {}", near.event_id));
        InvalidBranch::NoWorkflowTask { event_id, hint }
    })
}

fn known_activities(history: &[Event]) -> String {
    let mut types: Vec<&str> = Vec::new();
    for event in history {
        if let EventKind::ActivityTaskScheduled(it) = &event.event
            && !types.contains(&it.activity_type.as_str())
        {
            types.push(it.activity_type.as_str());
        }
    }
    match types.as_slice() {
        [] => "the history has no activities: reset to a workflow task".to_owned(),
        types => format!("the history has activities {}", types.join(", ")),
    }
}
