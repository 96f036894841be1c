//! Activities: outcomes, retries, lost attempts. One outcome each; a report about any but the current attempt is
//! ignored; failed attempts that are tried again write a row and no event.

use std::sync::Arc;

use super::Turn;
use crate::{
    activity::{ActivityOutcome, ActivityResult},
    event::{
        ActivityTaskCancelRequested, ActivityTaskCanceled, ActivityTaskCompleted, ActivityTaskFailed,
        ActivityTaskStarted, ActivityTaskTimedOut, EventKind,
    },
    failure::{Failure, FailureKind, RetryState},
    ids::ActivityId,
    payload::Payload,
    retry::RetryDecision,
    run::PendingActivity,
    time::Timestamp,
    transition::{ActivityRow, ActivityTask, DeadActivity},
};

/// The current attempt of an activity, at its end.
struct EndedAttempt {
    activity_id: ActivityId,
    scheduled_event_id: i64,
    /// When it began; absent when it never did.
    started_at: Option<Timestamp>,
    identity: Arc<str>,
}

impl Turn<'_> {
    /// Takes what became of an attempt: an outcome, or another attempt.
    pub fn activity_outcome(&mut self, outcome: ActivityOutcome) {
        let ActivityOutcome { activity_id, attempt, started_at, identity, last_heartbeat, result } = outcome;
        let now = self.now;
        let Some(pending) = self.current(activity_id, attempt) else { return };
        pending.last_heartbeat = last_heartbeat.or(pending.last_heartbeat.take());
        let (scheduled_event_id, cancel_requested) = (pending.scheduled_event_id, pending.cancel_requested);
        let ended = EndedAttempt { activity_id, scheduled_event_id, started_at, identity };
        match result {
            ActivityResult::Completed(result) => {
                let ended = EndedAttempt { started_at: Some(started_at.unwrap_or(self.now)), ..ended };
                let completed = ActivityTaskCompleted { activity_id, scheduled_event_id, result };
                self.settle(&ended, EventKind::ActivityTaskCompleted(completed));
            }
            ActivityResult::Canceled { details } if cancel_requested => self.canceled(&ended, details),
            ActivityResult::Canceled { details } => {
                let message = "the activity stopped as if it had been asked to";
                self.attempt_failed(ended, Failure { details, ..Failure::canceled(message) });
            }
            ActivityResult::TimedOut { timeout } => {
                let message = format!("the {} timeout passed in attempt {attempt}", timeout.as_str());
                self.attempt_failed(ended, Failure::timeout(timeout, message));
            }
            ActivityResult::Failed(failure) => self.attempt_failed(ended, failure),
            ActivityResult::CompletesAsynchronously => {
                pending.state.asynchronous_since = Some(started_at.unwrap_or(now));
                self.offer_activity(activity_id, false);
            }
        }
    }

    /// Takes the news that the process which ran the current attempt is gone. The attempt counts, and the next one,
    /// if the policy allows it, begins without a wait: it was not the activity that failed.
    pub fn activity_lost(&mut self, activity_id: ActivityId, identity: impl Into<Arc<str>>) {
        let Some(pending) = self.run.activities.get(&activity_id).filter(|_| self.is_open()) else { return };
        let (attempt, scheduled_event_id) = (pending.attempt, pending.scheduled_event_id);
        let ended =
            EndedAttempt { activity_id, scheduled_event_id, started_at: Some(self.now), identity: identity.into() };
        self.attempt_failed(ended, Failure::lost_attempt(attempt));
    }

    /// Takes a sign of life of the attempt that the owner runs: a row keeps what the next attempt should know.
    pub fn activity_heartbeat(&mut self, activity_id: ActivityId, attempt: u32, details: Option<Payload>) {
        let Some(pending) = self.current(activity_id, attempt) else { return };
        let told_something = details.is_some();
        pending.last_heartbeat = details.or(pending.last_heartbeat.take());
        let here = pending.state.asynchronous_since.is_none();
        // The deadline of one that is completed from outside is in the row, and moves with each sign of life.
        if told_something || !pending.has_row || !here {
            self.offer_activity(activity_id, here);
        }
    }

    /// Puts the current attempt of an activity into a row: kept for this process, or offered to every worker of its
    /// queue.
    pub fn offer_activity(&mut self, activity_id: ActivityId, claimed_by_owner: bool) {
        let Some(task) = self.activity_task(activity_id, self.now) else { return };
        self.write_row(task, claimed_by_owner, self.now);
    }

    /// Describes the current attempt of a pending activity, to be run by the owner.
    pub fn current_attempt(&self, activity_id: ActivityId) -> Option<ActivityTask> {
        self.activity_task(activity_id, self.now)
    }

    /// Asks an activity to stop. One that has its outcome already, unseen by the code, makes no event.
    pub(super) fn request_cancel(&mut self, activity_id: ActivityId) {
        let Some(pending) = self.run.activities.get(&activity_id) else { return };
        let (scheduled_event_id, has_row) = (pending.scheduled_event_id, pending.has_row);
        let requested = ActivityTaskCancelRequested { activity_id, scheduled_event_id };
        self.push(EventKind::ActivityTaskCancelRequested(requested));
        if has_row {
            self.out.canceled_activities.push(activity_id);
        }
    }

    /// Finds a pending activity if the attempt is the current one.
    fn current(&mut self, activity_id: ActivityId, attempt: u32) -> Option<&mut PendingActivity> {
        let open = self.is_open();
        self.run.activities.get_mut(&activity_id).filter(|pending| open && pending.attempt == attempt)
    }

    fn attempt_failed(&mut self, ended: EndedAttempt, failure: Failure) {
        let activity_id = ended.activity_id;
        let Some(task) = self.activity_task(activity_id, self.now) else { return };
        let Some(pending) = self.run.activities.get_mut(&activity_id) else { return };
        pending.state.asynchronous_since = None;
        let policy = &pending.scheduled.options.retry_policy;
        let counted = pending.attempt - pending.state.attempts_before;
        let retry_state = match policy.decide(counted, &failure, self.now, task.schedule_to_close_at) {
            RetryDecision::GiveUp(state) => state,
            RetryDecision::RetryAt(_) if pending.cancel_requested => RetryState::CancelRequested,
            RetryDecision::RetryAt(at) => {
                pending.attempt += 1;
                pending.last_failure = Some(failure);
                if let Some(task) = self.activity_task(activity_id, at) {
                    self.write_row(task, false, at);
                }
                return;
            }
        };
        // An attempt that was asked to stop and disappeared has stopped.
        let stopped = match failure.kind {
            FailureKind::Canceled => pending.cancel_requested,
            FailureKind::WorkerLost => retry_state == RetryState::CancelRequested,
            FailureKind::Application
            | FailureKind::Panic
            | FailureKind::Timeout(_)
            | FailureKind::Terminated
            | FailureKind::ChildWorkflow => false,
        };
        if stopped {
            return self.canceled(&ended, failure.details);
        }
        if matches!(retry_state, RetryState::MaximumAttemptsReached | RetryState::Timeout) {
            let (activity_type, attempts) = (pending.scheduled.activity_type.clone(), pending.attempt);
            let (died_at, failure) = (self.now, failure.clone());
            let dead = DeadActivity { activity_id, activity_type, attempts, died_at, failure };
            self.out.dead_activities.push(dead);
        }
        let scheduled_event_id = ended.scheduled_event_id;
        let event = if let FailureKind::Timeout(timeout_type) = failure.kind {
            let last_heartbeat = pending.last_heartbeat.clone();
            let outcome =
                ActivityTaskTimedOut { activity_id, scheduled_event_id, timeout_type, retry_state, last_heartbeat };
            EventKind::ActivityTaskTimedOut(outcome)
        } else {
            let outcome = ActivityTaskFailed { activity_id, scheduled_event_id, failure, retry_state };
            EventKind::ActivityTaskFailed(Box::new(outcome))
        };
        self.settle(&ended, event);
    }

    fn canceled(&mut self, ended: &EndedAttempt, details: Option<Payload>) {
        let EndedAttempt { activity_id, scheduled_event_id, .. } = *ended;
        let canceled = ActivityTaskCanceled { activity_id, scheduled_event_id, details };
        self.settle(ended, EventKind::ActivityTaskCanceled(canceled));
    }

    /// Appends an outcome, after the start of the attempt that brought it if that began, and removes the activity's
    /// row, if it has one.
    fn settle(&mut self, ended: &EndedAttempt, outcome: EventKind) {
        let activity_id = ended.activity_id;
        let Some(pending) = self.run.activities.get(&activity_id) else { return };
        let has_row = pending.has_row;
        if let Some(started_at) = ended.started_at {
            let started = ActivityTaskStarted {
                activity_id,
                scheduled_event_id: ended.scheduled_event_id,
                attempt: pending.attempt,
                identity: ended.identity.clone(),
                started_at,
                last_failure: pending.last_failure.clone().map(Box::new),
            };
            self.push(EventKind::ActivityTaskStarted(started));
        }
        self.push(outcome);
        self.out.attempts.retain(|task| task.activity_id != activity_id);
        self.out.activities.retain(|row| row.activity_id != activity_id);
        self.out.canceled_activities.retain(|id| *id != activity_id);
        self.out.activity_changes.retain(|change| change.activity_id != activity_id);
        if has_row {
            self.out.dropped_activities.push(activity_id);
        }
    }

    fn write_row(&mut self, task: ActivityTask, claimed_by_owner: bool, visible_at: Timestamp) {
        let open = self.is_open();
        let Some(pending) = self.run.activities.get_mut(&task.activity_id).filter(|_| open) else { return };
        pending.has_row = true;
        if pending.cancel_requested {
            self.out.canceled_activities.push(task.activity_id);
        }
        self.out.attempts.retain(|attempt| attempt.activity_id != task.activity_id);
        self.out.activities.retain(|row| row.activity_id != task.activity_id);
        self.out.activity_changes.retain(|change| change.activity_id != task.activity_id);
        self.out.activities.push(ActivityRow {
            activity_id: task.activity_id,
            attempt: pending.attempt,
            visible_at: if pending.state.is_held() && !claimed_by_owner { Timestamp::MAX } else { visible_at },
            state: pending.state,
            claimed_by_owner,
            last_failure: pending.last_failure.clone(),
            last_heartbeat: pending.last_heartbeat.clone(),
            task: Box::new(task),
        });
    }
}
