//! The end of a run: one closing event, last, and no row left that points at it.

use super::{Ending, Turn};
use crate::{
    event::{EventKind, WorkflowExecutionTerminated},
    ids::MessageId,
    transition::{ProblemChange, Successor},
};

impl Turn<'_> {
    /// Ends the run from outside, with this step.
    pub fn terminate(&mut self, message_id: MessageId, reason: String, identity: String) {
        let terminated = WorkflowExecutionTerminated { message_id, reason, identity };
        self.end_with_step(Ending::Terminated(terminated, None));
    }

    /// Ends the run with this step and lets another take its place, both or neither: a start that replaces it, or a branch
    /// of its own history. An order to end that came with the step is carried out by it, and keeps its words.
    pub fn replace(&mut self, message_id: MessageId, reason: String, identity: String, successor: Box<Successor>) {
        let ordered = match self.ending.take() {
            Some(Ending::Terminated(ordered, _)) => ordered,
            Some(Ending::TimedOut) | None => WorkflowExecutionTerminated { message_id, reason, identity },
        };
        self.end_with_step(Ending::Terminated(ordered, Some(successor)));
    }

    /// Ends the run when the step is finished; the first reason counts.
    pub(super) fn end_with_step(&mut self, ending: Ending) {
        if self.is_open() && self.ending.is_none() {
            self.ending = Some(ending);
        }
    }

    /// Appends the closing event and removes the rows of what is still pending; tells whoever waits for the run.
    pub(super) fn close(&mut self, event: EventKind, successor: Option<Box<Successor>>) {
        assert!(event.closes(), "only a closing event closes");
        let relatives = self.run.rare.as_ref().is_some_and(|rare| !rare.children.is_empty())
            || self.run.started.lineage.as_ref().is_some_and(|lineage| lineage.parent.is_some());
        let closing = relatives.then(|| event.clone());
        let event_id = self.push(event);
        self.out.closes = Some(self.run.status);
        if let Some(closing) = closing {
            let inherits = |it: &Successor| it.request.lineage.as_ref().is_some_and(|lineage| lineage.parent.is_some());
            self.tell_relatives(event_id, &closing, successor.as_deref().is_some_and(inherits));
        }
        self.abort_updates();
        self.out.successor = successor;
        self.out.activity_changes.clear();
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
