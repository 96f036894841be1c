//! What operators hold back and let go: runs, activities.

use super::Turn;
use crate::{
    event::{EventKind, WorkflowExecutionPaused, WorkflowExecutionUnpaused},
    ids::{ActivityId, MessageId},
    run::PendingActivity,
    time::Timestamp,
    transition::{ActivityRowChange, AttemptState},
};

impl Turn<'_> {
    pub(super) fn pause(&mut self, message_id: MessageId, reason: String, identity: String) {
        if !self.run.is_paused() {
            let paused = WorkflowExecutionPaused { message_id, reason, identity };
            self.push(EventKind::WorkflowExecutionPaused(paused));
        }
    }

    pub(super) fn unpause(&mut self, message_id: MessageId, reason: String, identity: String) {
        if self.run.is_paused() {
            let unpaused = WorkflowExecutionUnpaused { message_id, reason, identity };
            self.push(EventKind::WorkflowExecutionUnpaused(unpaused));
        }
    }

    /// Holds the next attempt of an activity. One that is under way goes on; it gets a row that remembers the pause.
    pub(super) fn pause_activity(&mut self, activity_id: ActivityId) {
        let waits_here = self.out.attempts.iter().any(|task| task.activity_id == activity_id);
        let Some(pending) = self.pending_activity(activity_id) else { return };
        pending.state.paused = true;
        if pending.has_row {
            self.change_row(activity_id, Timestamp::MAX);
        } else {
            self.offer_activity(activity_id, !waits_here);
        }
    }

    /// Lets attempts of an activity begin again, a waiting one at once.
    pub(super) fn unpause_activity(&mut self, activity_id: ActivityId) {
        let now = self.now;
        let Some(pending) = self.pending_activity(activity_id).filter(|pending| pending.state.paused) else { return };
        pending.state.paused = false;
        self.change_row(activity_id, now);
    }

    /// Counts attempts from the current one on; one that waits begins at once, unless the activity is paused.
    pub(super) fn reset_activity(&mut self, activity_id: ActivityId) {
        let now = self.now;
        let Some(pending) = self.pending_activity(activity_id) else { return };
        pending.state.attempts_before = pending.attempt - 1;
        if pending.has_row {
            self.change_row(activity_id, now);
        } else if self.out.attempts.iter().all(|task| task.activity_id != activity_id) {
            // The row remembers from where to count if the process that runs the attempt disappears.
            self.offer_activity(activity_id, true);
        }
    }

    fn pending_activity(&mut self, activity_id: ActivityId) -> Option<&mut PendingActivity> {
        let open = self.is_open();
        self.run.activities.get_mut(&activity_id).filter(|_| open)
    }

    /// Notes the state of an activity in its row, whoever has it.
    fn change_row(&mut self, activity_id: ActivityId, visible_at: Timestamp) {
        let Some(pending) = self.run.activities.get(&activity_id) else { return };
        let state: AttemptState = pending.state;
        let visible_at = if state.is_held() { Timestamp::MAX } else { visible_at };
        let change = ActivityRowChange { activity_id, state, visible_at };
        if let Some(unwritten) = self.out.activities.iter_mut().find(|row| row.activity_id == activity_id) {
            return unwritten.change(change);
        }
        self.out.activity_changes.retain(|earlier| earlier.activity_id != activity_id);
        self.out.activity_changes.push(change);
    }
}
