//! Signals and requests to cancel for other runs: they go out by the outbox, and what became of them comes back.

use super::Turn;
use crate::{
    command::CancelTarget,
    event::{
        EventKind, ExternalWorkflowExecutionCancelRequested, ExternalWorkflowExecutionSignaled,
        RequestCancelExternalWorkflowExecutionFailed, RequestCancelExternalWorkflowExecutionInitiated,
        SignalExternalWorkflowExecutionFailed, SignalExternalWorkflowExecutionInitiated,
    },
    ids::{ExternalId, MessageId},
    message::MessageBody,
    outbox::{Asker, ExternalTarget, OutboxAnswer, OutboxBody, OutboxRow},
    payload::Payload,
};

impl Turn<'_> {
    pub(super) fn signal_external(
        &mut self,
        signal_id: ExternalId,
        target: ExternalTarget,
        signal_name: String,
        input: Payload,
    ) {
        let (name, value) = (signal_name.clone(), input.clone());
        let target_row = target.clone();
        let initiated = SignalExternalWorkflowExecutionInitiated { signal_id, target, signal_name, input };
        let event_id = self.push(EventKind::SignalExternalWorkflowExecutionInitiated(Box::new(initiated)));
        let body = MessageBody::Signal { name, input: value, identity: self.own_identity() };
        self.send_out(event_id, target_row, OutboxBody::Message(body), Asker::Signal(signal_id));
    }

    pub(super) fn cancel_external(&mut self, target: CancelTarget, reason: String) {
        let (cancel_id, target) = match target {
            CancelTarget::Child(child_id) => return self.cancel_child(child_id, reason),
            CancelTarget::External { cancel_id, target } => (cancel_id, target),
        };
        let initiated = RequestCancelExternalWorkflowExecutionInitiated {
            cancel_id,
            target: target.clone(),
            child: false,
            reason: reason.clone(),
        };
        let event_id = self.push(EventKind::RequestCancelExternalWorkflowExecutionInitiated(Box::new(initiated)));
        let body = MessageBody::Cancel { reason, identity: self.own_identity() };
        self.send_out(event_id, target, OutboxBody::Message(body), Asker::Cancel(cancel_id));
    }

    /// Writes a row for another run, in the order of the events that ask.
    pub(super) fn send_out(&mut self, event_id: i64, target: ExternalTarget, body: OutboxBody, asker: Asker) {
        let place = u32::try_from(self.out.outbox.len()).unwrap_or(u32::MAX);
        let id = MessageId::of_event(self.run.key.run_id, event_id, self.now, place);
        self.out.outbox.push(OutboxRow { id, target, body, asker, event_id });
    }

    /// Takes what became of a row. An answer that nothing waits for says nothing new.
    pub(super) fn outbox_answer(&mut self, event_id: i64, answer: OutboxAnswer) {
        let pending = |map: fn(&crate::run::RareState) -> &std::collections::BTreeMap<ExternalId, i64>, id| {
            self.run.rare.as_deref().is_some_and(|rare| map(rare).get(&id) == Some(&event_id))
        };
        let initiated_event_id = event_id;
        match answer {
            OutboxAnswer::ChildStarted { child_id } => self.child_started(child_id, event_id),
            OutboxAnswer::StartChildFailed { child_id, cause } => self.start_child_failed(child_id, event_id, cause),
            OutboxAnswer::Signaled { signal_id } if pending(|rare| &rare.external_signals, signal_id) => {
                let signaled = ExternalWorkflowExecutionSignaled { signal_id, initiated_event_id };
                self.push(EventKind::ExternalWorkflowExecutionSignaled(signaled));
            }
            OutboxAnswer::SignalFailed { signal_id, cause } if pending(|rare| &rare.external_signals, signal_id) => {
                let failed = SignalExternalWorkflowExecutionFailed { signal_id, initiated_event_id, cause };
                self.push(EventKind::SignalExternalWorkflowExecutionFailed(failed));
            }
            OutboxAnswer::CancelRequested { cancel_id } if pending(|rare| &rare.external_cancels, cancel_id) => {
                let requested = ExternalWorkflowExecutionCancelRequested { cancel_id, initiated_event_id };
                self.push(EventKind::ExternalWorkflowExecutionCancelRequested(requested));
            }
            OutboxAnswer::CancelFailed { cancel_id, cause } if pending(|rare| &rare.external_cancels, cancel_id) => {
                let failed = RequestCancelExternalWorkflowExecutionFailed { cancel_id, initiated_event_id, cause };
                self.push(EventKind::RequestCancelExternalWorkflowExecutionFailed(failed));
            }
            OutboxAnswer::Signaled { .. }
            | OutboxAnswer::SignalFailed { .. }
            | OutboxAnswer::CancelRequested { .. }
            | OutboxAnswer::CancelFailed { .. } => {}
        }
    }
}
