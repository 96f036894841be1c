//! How a branch is made: a prefix is cut and edited, folded under its new ids, and brought to where it can go on.

use super::{Edit, InvalidBranch, Reapply, point::began_before};
use crate::{
    apply::Turn,
    event::{
        ActivityTaskCompleted, Event, EventKind, WorkflowExecutionStarted, WorkflowTaskFailed, WorkflowTaskFailedCause,
    },
    failure::Failure,
    ids::{ActivityId, RunId, WorkflowId},
    lineage::{BranchKind, BranchedFrom, Lineage},
    message::{Message, MessageBody},
    run::{PendingTask, Run},
    start::StartWorkflow,
    time::Timestamp,
    transition::{Successor, TimerRow},
};

/// Finds how many events are copied so that an edit at `place` is seen by the task that the branch runs: up to the start
/// of the first one after it, or all but the end of the run.
pub(super) fn seen_at(history: &[Event], place: usize) -> usize {
    let starts = |event: &Event| matches!(event.event, EventKind::WorkflowTaskStarted(_));
    let first = history[place..].iter().position(starts).map(|offset| place + offset + 1);
    first.unwrap_or_else(|| history.iter().filter(|event| !event.event.closes()).count())
}

/// Makes an edit true in a copy of a history. Gives the place of the event that has changed.
pub(super) fn apply(events: &mut [Event], edit: &Edit) -> Result<usize, InvalidBranch> {
    match edit {
        Edit::Input(input) => {
            if let Some(Event { event: EventKind::WorkflowExecutionStarted(started), .. }) = events.first_mut() {
                started.input = input.clone();
            }
            Ok(0)
        }
        Edit::ActivityResult { activity_id, result } => {
            let refused =
                |problem: &str| InvalidBranch::NotEditable { activity_id: *activity_id, problem: problem.to_owned() };
            let outcome = |event: &Event| outcome_of(&event.event).is_some_and(|(id, _)| id == *activity_id);
            let place = events.iter().rposition(outcome).ok_or_else(|| {
                refused("has no outcome in the history: fork at an event instead, and it is run again")
            })?;
            if !began_before(events, place, *activity_id) {
                return Err(refused("never began: fork before it was scheduled instead"));
            }
            if let Some((activity_id, scheduled_event_id)) = outcome_of(&events[place].event) {
                let completed = ActivityTaskCompleted { activity_id, scheduled_event_id, result: result.clone() };
                events[place].event = EventKind::ActivityTaskCompleted(completed);
            }
            Ok(place)
        }
    }
}

fn outcome_of(event: &EventKind) -> Option<(ActivityId, i64)> {
    match event {
        EventKind::ActivityTaskCompleted(it) => Some((it.activity_id, it.scheduled_event_id)),
        EventKind::ActivityTaskFailed(it) => Some((it.activity_id, it.scheduled_event_id)),
        EventKind::ActivityTaskTimedOut(it) => Some((it.activity_id, it.scheduled_event_id)),
        EventKind::ActivityTaskCanceled(it) => Some((it.activity_id, it.scheduled_event_id)),
        _ => None,
    }
}

/// What a branch is to be.
pub(super) struct Branch<'a> {
    pub(super) kind: BranchKind,
    /// The workflow id of a fork.
    pub(super) workflow_id: Option<&'a WorkflowId>,
    pub(super) run_id: RunId,
    pub(super) reason: &'a str,
    pub(super) reapply: Reapply,
}

impl Branch<'_> {
    /// Makes the start of a run that begins with `prefix`, a part of `history` that may have been edited.
    pub(super) fn make(
        &self,
        history: &[Event],
        mut prefix: Vec<Event>,
        now: Timestamp,
    ) -> Result<Box<Successor>, InvalidBranch> {
        let source = Run::from_history(&prefix)?;
        let later = &history[prefix.len()..];
        let Some(Event { event: EventKind::WorkflowExecutionStarted(started), .. }) = prefix.first_mut() else {
            return Err(InvalidBranch::NoPoint);
        };
        self.rename(started, &source, prefix_end(&source), now);
        let mut run = Run::from_history(&prefix)?;
        let mut turn = Turn::begin(&mut run, now);
        self.end_task(&mut turn);
        take_outcomes(&mut turn, later);
        check_settled(turn.run())?;
        let inbox = self.take_messages(&mut turn, later);
        let pending: Vec<ActivityId> = turn.run().activities.keys().copied().collect();
        pending.into_iter().for_each(|activity_id| turn.offer_activity(activity_id, false));
        if turn.run().task.is_none() && turn.run().first_task_at() <= turn.now() {
            turn.schedule_task();
        }
        let (mut transition, ready_at) = (*turn.finish(), run.first_task_at().max(now));
        let timers = run.timers.iter().map(|(id, timer)| TimerRow { timer_id: *id, fire_at: timer.fire_at });
        transition.timers = timers.collect();
        transition.dropped_timers.clear();
        prefix.append(&mut transition.events);
        (transition.events, transition.first_event_id, transition.inbox) = (prefix, 1, inbox);
        Ok(Box::new(Successor { request: StartWorkflow::of(&run), transition, ready_at, owned: false }))
    }

    /// Gives the first event its new ids, and says where the run comes from.
    fn rename(&self, started: &mut WorkflowExecutionStarted, source: &Run, event_id: i64, at: Timestamp) {
        let before = started.lineage.take().map_or_else(Lineage::default, |lineage| *lineage);
        let original_run_id = before.branched_from.as_ref().map(BranchedFrom::original_run_id);
        let branched_from = Some(BranchedFrom {
            kind: self.kind,
            workflow_id: started.workflow_id.clone(),
            run_id: started.run_id,
            original_run_id,
            event_id,
            at,
            reason: self.reason.to_owned(),
        });
        let lineage = match self.kind {
            BranchKind::Reset => {
                Lineage { first_run_id: Some(source.first_run_id()), execution_deadline: None, branched_from, ..before }
            }
            BranchKind::Fork => Lineage { branched_from, ..Lineage::default() },
        };
        started.run_id = self.run_id;
        started.request_id = None;
        if let Some(workflow_id) = self.workflow_id {
            started.workflow_id = workflow_id.clone();
        }
        started.lineage = Some(Box::new(lineage));
    }

    /// Ends the task at whose start the copy ends: its commands are not part of the branch.
    fn end_task(&self, turn: &mut Turn<'_>) {
        let Some(PendingTask { scheduled_event_id, started_event_id: Some(started_event_id) }) = turn.run().task else {
            return;
        };
        let message = format!("the run was branched off here: {}", self.reason);
        turn.record(EventKind::WorkflowTaskFailed(WorkflowTaskFailed {
            scheduled_event_id,
            started_event_id,
            cause: WorkflowTaskFailedCause::ResetWorkflow,
            failure: Failure::application("ResetWorkflow", message),
        }));
    }

    /// Records later signals again; gives the updates that wait again.
    fn take_messages(&self, turn: &mut Turn<'_>, later: &[Event]) -> Vec<Message> {
        let mut waiting = Vec::new();
        if self.reapply == Reapply::Nothing {
            return waiting;
        }
        for event in later {
            match &event.event {
                EventKind::WorkflowExecutionSignaled(_) => turn.record(event.event.clone()),
                EventKind::WorkflowExecutionUpdateAccepted(accepted) => {
                    let body = MessageBody::Update(Box::new(accepted.request.clone()));
                    waiting.push(Message { id: accepted.message_id, body });
                }
                _ => {}
            }
        }
        waiting
    }
}

fn prefix_end(source: &Run) -> i64 {
    source.next_event_id - 1
}

/// Records what became later of what another run has to do with, as far as it was asked for in the copy.
fn take_outcomes(turn: &mut Turn<'_>, later: &[Event]) {
    for event in later {
        let rare = turn.run().rare.as_deref();
        let child = |id: u64, asked: i64| {
            rare.and_then(|rare| rare.children.get(&id)).is_some_and(|child| child.initiated_event_id == asked)
        };
        let signal = |id: u64, asked: i64| rare.is_some_and(|rare| rare.external_signals.get(&id) == Some(&asked));
        let cancel = |id: u64, asked: i64| rare.is_some_and(|rare| rare.external_cancels.get(&id) == Some(&asked));
        let pending = match &event.event {
            EventKind::StartChildWorkflowExecutionFailed(it) => child(it.child_id, it.initiated_event_id),
            EventKind::ChildWorkflowExecutionStarted(it) => child(it.child_id, it.initiated_event_id),
            EventKind::ChildWorkflowExecutionCompleted(it) => child(it.child_id, it.initiated_event_id),
            EventKind::ChildWorkflowExecutionFailed(it) => child(it.child_id, it.initiated_event_id),
            EventKind::ChildWorkflowExecutionCanceled(it) => child(it.child_id, it.initiated_event_id),
            EventKind::ChildWorkflowExecutionTimedOut(it) => child(it.child_id, it.initiated_event_id),
            EventKind::ChildWorkflowExecutionTerminated(it) => child(it.child_id, it.initiated_event_id),
            EventKind::SignalExternalWorkflowExecutionFailed(it) => signal(it.signal_id, it.initiated_event_id),
            EventKind::ExternalWorkflowExecutionSignaled(it) => signal(it.signal_id, it.initiated_event_id),
            EventKind::RequestCancelExternalWorkflowExecutionFailed(it) => cancel(it.cancel_id, it.initiated_event_id),
            EventKind::ExternalWorkflowExecutionCancelRequested(it) => cancel(it.cancel_id, it.initiated_event_id),
            _ => false,
        };
        if pending {
            turn.record(event.event.clone());
        }
    }
}

/// Refuses what only the source would ever hear of.
fn check_settled(run: &Run) -> Result<(), InvalidBranch> {
    let Some(rare) = run.rare.as_deref() else { return Ok(()) };
    let child = rare.children.values().map(|child| ("a child workflow", child.initiated_event_id));
    let signal = rare.external_signals.values().map(|event_id| ("a signal to another run", *event_id));
    let cancel = rare.external_cancels.values().map(|event_id| ("a request to cancel another run", *event_id));
    match child.chain(signal).chain(cancel).next() {
        Some((what, event_id)) => Err(InvalidBranch::Pending { what, event_id }),
        None => Ok(()),
    }
}
