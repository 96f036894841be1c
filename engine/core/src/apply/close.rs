//! The end of a run: one closing event, last, and no row left that points at it.

use super::Turn;
use crate::{
    event::{EventKind, WorkflowExecutionTerminated},
    ids::MessageId,
    transition::ProblemChange,
};

impl Turn<'_> {
    /// Ends the run from outside, with this step.
    pub fn terminate(&mut self, message_id: MessageId, reason: String, identity: String) {
        let terminated = WorkflowExecutionTerminated { message_id, reason, identity };
        self.end_with_step(EventKind::WorkflowExecutionTerminated(terminated));
    }

    /// Ends the run when the step is finished; the first reason counts.
    pub(super) fn end_with_step(&mut self, ending: EventKind) {
        if self.is_open() && self.ending.is_none() {
            self.ending = Some(ending);
        }
    }

    /// Appends the closing event and removes the rows of what is still pending.
    pub(super) fn close(&mut self, event: EventKind) {
        assert!(event.closes(), "only a closing event closes");
        self.push(event);
        self.out.closes = Some(self.run.status);
        let rows = self.run.activities.iter().filter(|(_, pending)| pending.has_row).map(|(id, _)| *id);
        self.out.dropped_activities.extend(rows);
        self.out.activities.clear();
        self.out.canceled_activities.clear();
        self.out.attempts.clear();
        self.out.dropped_timers.extend(self.run.timers.keys());
        for unwritten in self.out.timers.drain(..) {
            self.out.dropped_timers.retain(|timer_id| *timer_id != unwritten.timer_id);
        }
        self.out.problem = ProblemChange::Keep;
    }
}
