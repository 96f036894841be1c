//! Messages from outside: each is recorded once, and is gone from the inbox with the events that hold it.

use super::Turn;
use crate::{
    event::{EventKind, WorkflowExecutionCancelRequested, WorkflowExecutionSignaled},
    message::{Message, MessageBody},
};

impl Turn<'_> {
    /// Takes a message from the inbox. One that the history holds already, or that says nothing new, is only removed;
    /// one that comes after the step has closed the run stays, so that the store refuses the close.
    pub fn message(&mut self, message: Message) {
        let Message { id, body } = message;
        if !self.is_open() {
            return;
        }
        // A request leaves the inbox with its answer.
        if !matches!(body, MessageBody::Update(_)) {
            self.out.consumed.push(id);
        }
        if self.run.recorded_messages.contains(&id) && !matches!(body, MessageBody::Update(_)) {
            return;
        }
        match body {
            MessageBody::Signal { name, input, identity } => {
                let signaled = WorkflowExecutionSignaled { message_id: id, signal_name: name, input, identity };
                self.push(EventKind::WorkflowExecutionSignaled(signaled));
            }
            MessageBody::Cancel { reason, identity } => {
                if !self.run.cancel_requested {
                    let requested = WorkflowExecutionCancelRequested { message_id: id, reason, identity };
                    self.push(EventKind::WorkflowExecutionCancelRequested(requested));
                }
            }
            MessageBody::Terminate { reason, identity } => self.terminate(id, reason, identity),
            MessageBody::ActivityOutcome(outcome) => self.activity_outcome(*outcome),
            MessageBody::TimerDue { timer_id } => self.timer_reported_due(timer_id),
            MessageBody::OutboxAnswer { event_id, answer } => self.outbox_answer(event_id, answer),
            MessageBody::ChildClosed(closed) => self.child_closed(*closed),
            MessageBody::Update(request) => self.update_requested(id, *request),
            MessageBody::Pause { reason, identity } => self.pause(id, reason, identity),
            MessageBody::Unpause { reason, identity } => self.unpause(id, reason, identity),
            // Whoever runs the code looks for it, and for nothing else than to run it.
            MessageBody::RetryWorkflowTask => {}
            MessageBody::PauseActivity { activity_id } => self.pause_activity(activity_id),
            MessageBody::UnpauseActivity { activity_id } => self.unpause_activity(activity_id),
            MessageBody::ResetActivity { activity_id } => self.reset_activity(activity_id),
            MessageBody::ActivityHeartbeat { activity_id, attempt, details } => {
                self.activity_heartbeat(activity_id, attempt, details);
            }
        }
    }
}
