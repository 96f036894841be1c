//! Activities: outcomes, retries, lost attempts. One outcome each; a report about any but the current attempt is
//! ignored; failed attempts that are tried again write a row and no event.

use super::Turn;
use crate::{
    activity::{ActivityOutcome, ActivityResult},
    event::{
        ActivityTaskCanceled, ActivityTaskCompleted, ActivityTaskFailed, ActivityTaskStarted, ActivityTaskTimedOut,
        EventKind,
    },
    failure::{Failure, FailureKind, RetryState},
    ids::ActivityId,
    payload::Payload,
    retry::RetryDecision,
    time::Timestamp,
    transition::{ActivityRow, ActivityTask},
};

impl Turn<'_> {
    /// Takes what became of an attempt: an outcome, or another attempt.
    pub fn activity_outcome(&mut self, outcome: ActivityOutcome) {
        let ActivityOutcome { activity_id, attempt, started_at, identity, result } = outcome;
        let current = self.run.activities.get(&activity_id).is_some_and(|pending| pending.attempt == attempt);
        if !current || self.out.closes.is_some() {
            return;
        }
        let failure = match result {
            ActivityResult::Completed(result) => {
                let scheduled_event_id = self.attempt_started(activity_id, started_at, &identity);
                let completed = ActivityTaskCompleted { activity_id, scheduled_event_id, result };
                return self.settle(activity_id, EventKind::ActivityTaskCompleted(completed));
            }
            ActivityResult::Canceled { details } => {
                return self.canceled(activity_id, started_at, &identity, details);
            }
            ActivityResult::TimedOut { timeout, last_heartbeat } => {
                let message = format!("the {} timeout passed in attempt {attempt}", timeout.as_str());
                Failure { details: last_heartbeat, ..Failure::timeout(timeout, message) }
            }
            ActivityResult::Failed(failure) => failure,
        };
        self.attempt_failed(activity_id, started_at, &identity, failure);
    }

    /// Takes the news that the process which ran the current attempt is gone. The attempt counts, and the next one,
    /// if the policy allows it, begins without a wait: it was not the activity that failed.
    pub fn activity_lost(&mut self, activity_id: ActivityId, identity: &str) {
        let Some(pending) = self.run.activities.get(&activity_id) else { return };
        let failure = Failure {
            next_retry_delay_ms: Some(0),
            ..Failure::worker_lost(format!(
                "the worker that ran attempt {} disappeared; what the attempt did is unknown",
                pending.attempt
            ))
        };
        self.attempt_failed(activity_id, None, identity, failure);
    }

    /// Takes a sign of life of the attempt that the owner runs: a row keeps what the next attempt should know.
    pub fn activity_heartbeat(&mut self, activity_id: ActivityId, attempt: u32, details: Option<Payload>) {
        let Some(pending) = self.run.activities.get_mut(&activity_id).filter(|pending| pending.attempt == attempt) else {
            return;
        };
        let told_something = details.is_some();
        pending.last_heartbeat = details.or(pending.last_heartbeat.take());
        if (told_something || !pending.has_row) && self.out.closes.is_none() {
            self.offer_activity(activity_id, true);
        }
    }

    /// Puts the current attempt of an activity into a row, so that another process (or this one, later) can run it.
    pub fn offer_activity(&mut self, activity_id: ActivityId, claimed_by_owner: bool) {
        let Some(task) = self.activity_task(activity_id, self.now) else { return };
        self.write_row(task, claimed_by_owner, self.now);
    }

    /// Describes the current attempt of a pending activity, to be run by the owner.
    pub fn current_attempt(&self, activity_id: ActivityId) -> Option<ActivityTask> {
        self.activity_task(activity_id, self.now)
    }

    pub(super) fn canceled(
        &mut self,
        activity_id: ActivityId,
        started_at: Option<Timestamp>,
        identity: &str,
        details: Option<Payload>,
    ) {
        let Some(pending) = self.run.activities.get(&activity_id) else { return };
        let scheduled_event_id = pending.scheduled_event_id;
        if started_at.is_some() {
            self.attempt_started(activity_id, started_at, identity);
        }
        let canceled = ActivityTaskCanceled { activity_id, scheduled_event_id, details };
        self.settle(activity_id, EventKind::ActivityTaskCanceled(canceled));
    }

    fn attempt_failed(
        &mut self,
        activity_id: ActivityId,
        started_at: Option<Timestamp>,
        identity: &str,
        failure: Failure,
    ) {
        let Some(task) = self.activity_task(activity_id, self.now) else { return };
        let Some(pending) = self.run.activities.get_mut(&activity_id) else { return };
        let policy = &pending.scheduled.options.retry_policy;
        let decision = policy.decide(pending.attempt, &failure, self.now, task.schedule_to_close_at);
        let retry_state = match decision {
            RetryDecision::RetryAt(_) if pending.cancel_requested && failure.kind == FailureKind::WorkerLost => {
                return self.canceled(activity_id, started_at, identity, None);
            }
            RetryDecision::RetryAt(_) if pending.cancel_requested => RetryState::CancelRequested,
            RetryDecision::GiveUp(state) => state,
            RetryDecision::RetryAt(at) => {
                pending.attempt += 1;
                if let FailureKind::Timeout(_) = failure.kind {
                    pending.last_heartbeat = failure.details.clone().or(pending.last_heartbeat.take());
                }
                pending.last_failure = Some(failure);
                if let Some(task) = self.activity_task(activity_id, at) {
                    self.write_row(task, false, at);
                }
                return;
            }
        };
        let (scheduled_event_id, cancel_requested) = (pending.scheduled_event_id, pending.cancel_requested);
        if cancel_requested && failure.kind == FailureKind::Canceled {
            return self.canceled(activity_id, started_at, identity, failure.details);
        }
        if started_at.is_some() || failure.kind == FailureKind::WorkerLost {
            self.attempt_started(activity_id, started_at, identity);
        }
        let event = match failure.kind {
            FailureKind::Timeout(timeout_type) => EventKind::ActivityTaskTimedOut(ActivityTaskTimedOut {
                activity_id,
                scheduled_event_id,
                timeout_type,
                retry_state,
                last_heartbeat: failure.details,
            }),
            FailureKind::Application
            | FailureKind::Panic
            | FailureKind::Canceled
            | FailureKind::Terminated
            | FailureKind::WorkerLost => EventKind::ActivityTaskFailed(Box::new(ActivityTaskFailed {
                activity_id,
                scheduled_event_id,
                failure,
                retry_state,
            })),
        };
        self.settle(activity_id, event);
    }

    /// Appends the start that goes with an outcome; gives the id of the scheduling event.
    fn attempt_started(&mut self, activity_id: ActivityId, started_at: Option<Timestamp>, identity: &str) -> i64 {
        let pending = &self.run.activities[&activity_id];
        let scheduled_event_id = pending.scheduled_event_id;
        let started = ActivityTaskStarted {
            activity_id,
            scheduled_event_id,
            attempt: pending.attempt,
            identity: identity.to_owned(),
            started_at: started_at.unwrap_or(self.now),
            last_failure: pending.last_failure.clone().map(Box::new),
        };
        self.push(EventKind::ActivityTaskStarted(started));
        scheduled_event_id
    }

    /// Appends an outcome and removes the activity's row, if it has one.
    fn settle(&mut self, activity_id: ActivityId, outcome: EventKind) {
        let had_row = self.run.activities.get(&activity_id).is_some_and(|pending| pending.has_row);
        self.push(outcome);
        self.out.attempts.retain(|task| task.activity_id != activity_id);
        self.out.activities.retain(|row| row.activity_id != activity_id);
        if had_row {
            self.out.dropped_activities.push(activity_id);
        }
    }

    fn write_row(&mut self, task: ActivityTask, claimed_by_owner: bool, visible_at: Timestamp) {
        let Some(pending) = self.run.activities.get_mut(&task.activity_id) else { return };
        pending.has_row = true;
        self.out.attempts.retain(|attempt| attempt.activity_id != task.activity_id);
        self.out.activities.retain(|row| row.activity_id != task.activity_id);
        self.out.activities.push(ActivityRow {
            activity_id: task.activity_id,
            attempt: pending.attempt,
            visible_at,
            claimed_by_owner,
            last_failure: pending.last_failure.clone(),
            last_heartbeat: pending.last_heartbeat.clone(),
            task: Box::new(task),
        });
    }
}
