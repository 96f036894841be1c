//! Updates: a request waits in the inbox until a workflow task answers it, and leaves it with the answer.

use super::Turn;
use crate::{
    event::{EventKind, WorkflowExecutionUpdateAccepted, WorkflowExecutionUpdateCompleted},
    failure::Failure,
    ids::MessageId,
    limits,
    update::{UpdateOutcome, UpdateProgress, UpdateRequest, UpdateStage, UpdateState},
};

impl Turn<'_> {
    /// The requests that the next workflow task gives to the code, in the order in which they came; one for each update id.
    pub fn updates(&self) -> impl Iterator<Item = (MessageId, &UpdateRequest)> {
        let first = |index: usize, id: &str| self.updates[..index].iter().all(|(_, other)| other.update_id != id);
        let all = self.updates.iter().enumerate();
        all.filter(move |(index, (_, request))| first(*index, &request.update_id))
            .map(|(_, (id, request))| (*id, request))
    }

    /// Takes a request. It stays in the inbox until it is answered; one that was answered before, or that passes a limit,
    /// is answered at once.
    pub(super) fn update_requested(&mut self, id: MessageId, request: UpdateRequest) {
        if self.run.recorded_messages.contains(&id) {
            self.out.consumed.push(id);
            return;
        }
        if self.updates.iter().any(|(waiting, _)| *waiting == id) {
            return;
        }
        if let Some(state) = self.run.update(&request.update_id) {
            let stage = state.stage();
            return self.answer_update(id, request.update_id, stage);
        }
        let rare = self.run.rare.as_deref();
        let in_flight = rare.map_or(0, |rare| rare.updates_in_flight().count()) + self.updates().count();
        let known = self.updates.iter().any(|(_, waiting)| waiting.update_id == request.update_id);
        let problem = if rare.map_or(0, |rare| rare.updates.len()) >= limits::UPDATES_MAX {
            let limit = limits::UPDATES_MAX;
            format!("the run has accepted {limit} updates, which is the limit: continue as new and send it again")
        } else if !known && in_flight >= limits::UPDATES_IN_FLIGHT_MAX {
            let limit = limits::UPDATES_IN_FLIGHT_MAX;
            format!("{limit} updates are under way, which is the limit: send it again when one has ended")
        } else {
            self.updates.push((id, request));
            return;
        };
        let failure = Box::new(Failure::application("UpdateLimitExceeded", problem));
        self.answer_update(id, request.update_id, UpdateStage::Rejected { failure });
    }

    pub(super) fn accept_update(&mut self, update_id: &str) {
        let Some(index) = self.updates.iter().position(|(_, request)| request.update_id == update_id) else { return };
        let (message_id, request) = self.updates.remove(index);
        let accepted = WorkflowExecutionUpdateAccepted { message_id, request };
        let event_id = self.push(EventKind::WorkflowExecutionUpdateAccepted(Box::new(accepted)));
        self.answer_update(message_id, update_id.to_owned(), UpdateStage::Accepted { event_id });
        self.answer_all(update_id, &UpdateStage::Accepted { event_id });
    }

    pub(super) fn reject_update(&mut self, update_id: &str, failure: Box<Failure>) {
        self.answer_all(update_id, &UpdateStage::Rejected { failure });
    }

    pub(super) fn complete_update(&mut self, update_id: String, outcome: UpdateOutcome) {
        let Some(UpdateState::Accepted { event_id }) = self.run.update(&update_id) else { return };
        let (accepted_event_id, id) = (*event_id, update_id.clone());
        let completed = WorkflowExecutionUpdateCompleted { update_id, accepted_event_id, outcome: outcome.clone() };
        let event_id = self.push(EventKind::WorkflowExecutionUpdateCompleted(Box::new(completed)));
        let stage = UpdateStage::Completed { event_id, outcome };
        self.out.updates.push(UpdateProgress { update_id: id, message_id: None, stage });
    }

    /// Tells everyone who waits that the run has closed before their update ended.
    pub(super) fn abort_updates(&mut self) {
        let status = self.run.status.as_str();
        let aborted = |what: &str| {
            let message = format!("the run closed ({status}) before it {what} the update");
            UpdateStage::Aborted { failure: Box::new(Failure::application("WorkflowClosed", message)) }
        };
        let (waiting, accepted) = (aborted("accepted"), aborted("completed"));
        for (id, request) in std::mem::take(&mut self.updates) {
            self.answer_update(id, request.update_id, waiting.clone());
        }
        let in_flight = self.run.rare.iter().flat_map(|rare| rare.updates_in_flight());
        let news = |update_id: &str| UpdateProgress {
            update_id: update_id.to_owned(),
            message_id: None,
            stage: accepted.clone(),
        };
        self.out.updates.extend(in_flight.map(news));
    }

    /// Answers every request that waits for an update.
    fn answer_all(&mut self, update_id: &str, stage: &UpdateStage) {
        let (answered, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.updates).into_iter().partition(|(_, request)| request.update_id == update_id);
        self.updates = waiting;
        for (id, request) in answered {
            self.answer_update(id, request.update_id, stage.clone());
        }
    }

    fn answer_update(&mut self, id: MessageId, update_id: String, stage: UpdateStage) {
        self.out.consumed.push(id);
        self.out.updates.push(UpdateProgress { update_id, message_id: Some(id), stage });
    }
}
