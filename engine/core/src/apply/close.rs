//! The end of a run: one closing event, last, and no row left that points at it.

use super::Turn;
use crate::{
    event::{EventKind, WorkflowExecutionTerminated},
    ids::MessageId,
    transition::ProblemChange,
};

impl Turn<'_> {
    /// Ends the run at once, from outside.
    pub fn terminate(&mut self, message_id: MessageId, reason: String, identity: String) {
        if self.out.closes.is_none() {
            let terminated = WorkflowExecutionTerminated { message_id, reason, identity };
            self.close(EventKind::WorkflowExecutionTerminated(terminated));
        }
    }

    /// Appends the closing event and removes the rows of what is still pending.
    pub(super) fn close(&mut self, event: EventKind) {
        debug_assert!(event.closes(), "only a closing event closes");
        self.push(event);
        self.out.closes = Some(self.run.status);
        let rows = self.run.activities.iter().filter(|(_, pending)| pending.has_row).map(|(id, _)| *id);
        self.out.dropped_activities.extend(rows);
        self.out.activities.clear();
        self.out.attempts.clear();
        self.out.dropped_timers.extend(self.run.timers.keys());
        for unwritten in self.out.timers.drain(..) {
            self.out.dropped_timers.retain(|timer_id| *timer_id != unwritten.timer_id);
        }
        self.out.problem = ProblemChange::Keep;
    }
}
