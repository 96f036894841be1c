//! What each event makes of a run, and which events may follow which: a history that breaks a rule is corrupt.

use std::{collections::BTreeMap, sync::Arc};

use super::{CorruptHistory, PendingActivity, PendingTask, PendingTimer, Run, RunStatus, corrupt};
use crate::{
    event::{Event, EventKind},
    ids::{ActivityId, MessageId, RUN_TIMEOUT_TIMER, TimerId},
    payload::Payload,
    time::Timestamp,
    transition::AttemptState,
};

impl Run {
    /// Takes one more event in.
    ///
    /// # Errors
    /// [`CorruptHistory`] when the event contradicts those before it; the run is then not to be used any more.
    pub fn fold(&mut self, event: &Event) -> Result<(), CorruptHistory> {
        self.try_fold(event).map_err(|problem| {
            corrupt(&self.key.run_id.to_string(), event.event_id, &format!("{}: {problem}", event.event.name()))
        })
    }

    fn try_fold(&mut self, event: &Event) -> Result<(), String> {
        check(event.event_id == self.next_event_id, || format!("expected event {}", self.next_event_id))?;
        check(self.status == RunStatus::Running, || "the run is closed")?;
        check(event.event_time >= self.last_event_time, || "time went backwards")?;
        let command = event.event.is_command();
        check(self.commanding || !command, || "it is no command of a workflow task that has just completed")?;
        self.next_event_id += 1;
        self.last_event_time = event.event_time;
        self.history_bytes += event.event.stored_bytes();
        self.commanding = command || matches!(event.event, EventKind::WorkflowTaskCompleted(_));
        self.fold_kind(event)
    }

    fn fold_kind(&mut self, event: &Event) -> Result<(), String> {
        match &event.event {
            EventKind::WorkflowExecutionStarted(_) => Err("a second start".to_owned()),
            EventKind::WorkflowTaskScheduled(_)
            | EventKind::WorkflowTaskStarted(_)
            | EventKind::WorkflowTaskCompleted(_)
            | EventKind::WorkflowTaskFailed(_)
            | EventKind::WorkflowTaskTimedOut(_) => self.fold_task(event),
            EventKind::ActivityTaskScheduled(_)
            | EventKind::ActivityTaskStarted(_)
            | EventKind::ActivityTaskCompleted(_)
            | EventKind::ActivityTaskFailed(_)
            | EventKind::ActivityTaskTimedOut(_)
            | EventKind::ActivityTaskCancelRequested(_)
            | EventKind::ActivityTaskCanceled(_) => self.fold_activity(event),
            EventKind::TimerStarted(_) | EventKind::TimerFired(_) | EventKind::TimerCanceled(_) => {
                self.fold_timer(event)
            }
            EventKind::WorkflowExecutionSignaled(signaled) => {
                self.signals += 1;
                self.unseen = true;
                self.record(signaled.message_id)
            }
            EventKind::WorkflowExecutionCancelRequested(requested) => {
                check(!self.cancel_requested, || "cancellation was requested already")?;
                self.cancel_requested = true;
                self.unseen = true;
                self.record(requested.message_id)
            }
            EventKind::WorkflowExecutionTerminated(terminated) => {
                self.close(RunStatus::Terminated);
                self.record(terminated.message_id)
            }
            EventKind::WorkflowExecutionTimedOut(_) => {
                let due = self.deadline().is_some_and(|deadline| event.event_time >= deadline);
                check(due, || "the run has no timeout that has passed")?;
                self.close(RunStatus::TimedOut);
                Ok(())
            }
            EventKind::StartChildWorkflowExecutionInitiated(_)
            | EventKind::StartChildWorkflowExecutionFailed(_)
            | EventKind::ChildWorkflowExecutionStarted(_)
            | EventKind::ChildWorkflowExecutionCompleted(_)
            | EventKind::ChildWorkflowExecutionFailed(_)
            | EventKind::ChildWorkflowExecutionCanceled(_)
            | EventKind::ChildWorkflowExecutionTimedOut(_)
            | EventKind::ChildWorkflowExecutionTerminated(_) => self.fold_child(event),
            EventKind::SignalExternalWorkflowExecutionInitiated(_)
            | EventKind::SignalExternalWorkflowExecutionFailed(_)
            | EventKind::ExternalWorkflowExecutionSignaled(_)
            | EventKind::RequestCancelExternalWorkflowExecutionInitiated(_)
            | EventKind::RequestCancelExternalWorkflowExecutionFailed(_)
            | EventKind::ExternalWorkflowExecutionCancelRequested(_) => self.fold_external(event),
            EventKind::WorkflowExecutionUpdateAccepted(_) | EventKind::WorkflowExecutionUpdateCompleted(_) => {
                self.fold_update(event)
            }
            EventKind::MarkerRecorded(_)
            | EventKind::UpsertWorkflowSearchAttributes(_)
            | EventKind::WorkflowPropertiesModified(_) => self.fold_note(event),
            EventKind::WorkflowExecutionPaused(_) | EventKind::WorkflowExecutionUnpaused(_) => self.fold_pause(event),
            EventKind::WorkflowExecutionCompleted(_) => self.close_unless_unseen(RunStatus::Completed),
            EventKind::WorkflowExecutionFailed(_) => self.close_unless_unseen(RunStatus::Failed),
            EventKind::WorkflowExecutionCanceled(_) => self.close_unless_unseen(RunStatus::Canceled),
            EventKind::WorkflowExecutionContinuedAsNew(_) => self.close_unless_unseen(RunStatus::ContinuedAsNew),
        }
    }

    fn fold_task(&mut self, event: &Event) -> Result<(), String> {
        const MISFIT: &str = "it does not fit the state of the workflow task";
        let id = event.event_id;
        if let EventKind::WorkflowTaskScheduled(_) = &event.event {
            check(self.task.is_none(), || MISFIT)?;
            self.task = Some(PendingTask { scheduled_event_id: id, started_event_id: None });
            return Ok(());
        }
        let task = self.task.ok_or(MISFIT)?;
        let started = |scheduled_event_id, started_event_id| {
            task == PendingTask { scheduled_event_id, started_event_id: Some(started_event_id) }
        };
        match &event.event {
            EventKind::WorkflowTaskStarted(it) => {
                let scheduled = PendingTask { scheduled_event_id: it.scheduled_event_id, started_event_id: None };
                check(task == scheduled, || MISFIT)?;
                check(!self.is_paused(), || "the run is paused")?;
                self.task = Some(PendingTask { started_event_id: Some(id), ..task });
                self.unseen = false;
            }
            EventKind::WorkflowTaskCompleted(it) => {
                check(started(it.scheduled_event_id, it.started_event_id), || MISFIT)?;
                self.task = None;
                (self.task_failures, self.task_failing_since) = (0, None);
                self.local_activities = it.local_activities;
            }
            EventKind::WorkflowTaskFailed(it) => {
                check(started(it.scheduled_event_id, it.started_event_id), || MISFIT)?;
                self.fail_task(event.event_time);
            }
            EventKind::WorkflowTaskTimedOut(it) => {
                check(started(it.scheduled_event_id, it.started_event_id), || MISFIT)?;
                self.fail_task(event.event_time);
            }
            other => return Err(format!("{} is no event of a workflow task", other.name())),
        }
        Ok(())
    }

    fn fail_task(&mut self, at: Timestamp) {
        self.task = None;
        self.unseen = true;
        self.task_failures += 1;
        self.task_failing_since.get_or_insert(at);
    }

    fn fold_activity(&mut self, event: &Event) -> Result<(), String> {
        match &event.event {
            EventKind::ActivityTaskScheduled(scheduled) => {
                let pending = PendingActivity {
                    scheduled: Arc::clone(scheduled),
                    scheduled_event_id: event.event_id,
                    // What a branch has copied without an outcome begins anew with it.
                    scheduled_at: event.event_time.max(self.begun_at()),
                    attempt: 1,
                    last_failure: None,
                    last_heartbeat: None,
                    started_event_id: None,
                    cancel_requested: false,
                    has_row: false,
                    state: AttemptState::default(),
                };
                let before = self.activities.insert(scheduled.activity_id, pending);
                check(before.is_none(), || "the activity id is in use")
            }
            EventKind::ActivityTaskStarted(it) => {
                let pending = self.pending(it.activity_id, it.scheduled_event_id)?;
                check(pending.started_event_id.is_none(), || "an attempt with an outcome began already")?;
                pending.started_event_id = Some(event.event_id);
                Ok(())
            }
            EventKind::ActivityTaskCancelRequested(it) => {
                self.pending(it.activity_id, it.scheduled_event_id)?.cancel_requested = true;
                Ok(())
            }
            EventKind::ActivityTaskCompleted(it) => {
                let began = self.pending(it.activity_id, it.scheduled_event_id)?.started_event_id.is_some();
                check(began, || "the attempt has not begun")?;
                self.settle(it.activity_id)
            }
            EventKind::ActivityTaskFailed(it) => {
                self.pending(it.activity_id, it.scheduled_event_id)?;
                self.settle(it.activity_id)
            }
            EventKind::ActivityTaskTimedOut(it) => {
                self.pending(it.activity_id, it.scheduled_event_id)?;
                self.settle(it.activity_id)
            }
            EventKind::ActivityTaskCanceled(it) => {
                let requested = self.pending(it.activity_id, it.scheduled_event_id)?.cancel_requested;
                check(requested, || "nobody asked the activity to stop")?;
                self.settle(it.activity_id)
            }
            other => Err(format!("{} is no event of an activity", other.name())),
        }
    }

    fn pending(&mut self, id: ActivityId, scheduled_event_id: i64) -> Result<&mut PendingActivity, String> {
        self.activities
            .get_mut(&id)
            .filter(|pending| pending.scheduled_event_id == scheduled_event_id)
            .ok_or_else(|| format!("activity {id} of event {scheduled_event_id} is not pending"))
    }

    fn settle(&mut self, id: ActivityId) -> Result<(), String> {
        self.unseen = true;
        self.activities.remove(&id).map(drop).ok_or_else(|| format!("activity {id} is not pending"))
    }

    fn fold_timer(&mut self, event: &Event) -> Result<(), String> {
        match &event.event {
            EventKind::TimerStarted(it) => {
                check(it.timer_id != RUN_TIMEOUT_TIMER, || "timer 0 is the run's own")?;
                let timer = PendingTimer { started_event_id: event.event_id, fire_at: it.fire_at };
                check(self.timers.insert(it.timer_id, timer).is_none(), || "the timer id is in use")
            }
            EventKind::TimerFired(it) => {
                let fire_at = self.end_timer(it.timer_id, it.started_event_id)?;
                check(event.event_time >= fire_at, || "the timer is not due")?;
                self.unseen = true;
                Ok(())
            }
            EventKind::TimerCanceled(it) => self.end_timer(it.timer_id, it.started_event_id).map(drop),
            other => Err(format!("{} is no event of a timer", other.name())),
        }
    }

    fn end_timer(&mut self, id: TimerId, started_event_id: i64) -> Result<Timestamp, String> {
        let timer = self.timers.get(&id).filter(|timer| timer.started_event_id == started_event_id);
        let ended = timer.filter(|_| id != RUN_TIMEOUT_TIMER).copied();
        let ended = ended.ok_or_else(|| format!("timer {id} of event {started_event_id} is not pending"))?;
        self.timers.remove(&id);
        Ok(ended.fire_at)
    }

    pub(super) fn record(&mut self, message_id: MessageId) -> Result<(), String> {
        check(self.recorded_messages.insert(message_id), || "the message is recorded already")
    }

    fn close_unless_unseen(&mut self, status: RunStatus) -> Result<(), String> {
        check(!self.unseen, || "something happened that the workflow's code was not given")?;
        self.close(status);
        Ok(())
    }

    fn close(&mut self, status: RunStatus) {
        self.status = status;
        self.task = None;
        self.unseen = false;
        self.commanding = false;
    }
}

pub(super) fn check<P: Into<String>>(holds: bool, problem: impl FnOnce() -> P) -> Result<(), String> {
    if holds { Ok(()) } else { Err(problem().into()) }
}

/// Reads a payload that must be a JSON object.
pub(super) fn object(payload: &Payload) -> Result<BTreeMap<String, serde_json::Value>, String> {
    payload.decode("attributes").map_err(|error| error.to_string())
}
