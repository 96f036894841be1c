//! Messages to runs, and ends from outside.

use dacapo_core::{
    Message, MessageBody, MessageId, Run, RunKey, Timestamp, WorkerId,
    apply::Turn,
    limits,
    store::{SendMessage, SendOutcome, StoreError, StoreResult},
};

use super::state::State;

impl State {
    /// Puts a message into a run's inbox.
    pub(super) fn send(&mut self, send: SendMessage, now: Timestamp) -> SendOutcome {
        let SendMessage { run, message: Message { id, body } } = send;
        if !self.open.contains_key(&run) {
            return if self.recorded(run, id) { SendOutcome::Accepted } else { SendOutcome::NotOpen };
        }
        if self.is_full(run, &body) {
            let waits = self.inbox.get(&run).is_some_and(|inbox| inbox.contains_key(&id));
            let known = waits || self.recorded(run, id);
            return if known { SendOutcome::Accepted } else { SendOutcome::TooManySignals };
        }
        self.deliver(run, id, body, now);
        SendOutcome::Accepted
    }

    /// Whether a run has received, in history and inbox together, as many signals as a run may.
    pub(super) fn is_full(&self, run: RunKey, body: &MessageBody) -> bool {
        let waiting = self.inbox.get(&run).map_or(0, std::collections::BTreeMap::len) as u64;
        let signals = self.open.get(&run).map_or(0, |open| open.signals) + waiting;
        matches!(body, MessageBody::Signal { .. }) && signals >= limits::SIGNALS_MAX
    }

    /// Ends a run that nobody owns, or leaves the order in the inbox of its owner.
    pub(super) fn terminate(&mut self, run: RunKey, message: Message, now: Timestamp) -> StoreResult<SendOutcome> {
        match self.open.get(&run).map(|open| open.owner) {
            Some(None) => {
                self.end_from_outside(run, message.id, message.body, now)?;
                Ok(SendOutcome::Accepted)
            }
            Some(Some(_)) | None => Ok(self.send(SendMessage { run, message }, now)),
        }
    }

    /// Closes an open run at once, with what its inbox holds in its history.
    pub(super) fn end_from_outside(
        &mut self,
        run: RunKey,
        id: MessageId,
        body: MessageBody,
        now: Timestamp,
    ) -> StoreResult<()> {
        let events = self.history.get(&run).into_iter().flatten().flat_map(|transition| &transition.events);
        let mut folded =
            Run::from_history(events).map_err(|error| StoreError::Corrupt { problem: error.to_string() })?;
        for (_, slot) in self.activities_of(run) {
            folded.restore_activity(&slot.row);
        }
        let mut turn = Turn::begin(&mut folded, now);
        for message in self.messages(run) {
            turn.message(message);
        }
        turn.message(Message { id, body });
        self.append(turn.finish(), now);
        Ok(())
    }

    /// The messages of a run in the order of their ids.
    pub(super) fn messages(&self, run: RunKey) -> Vec<Message> {
        let inbox = self.inbox.get(&run).into_iter().flatten();
        inbox.map(|(id, body)| Message { id: *id, body: body.clone() }).collect()
    }

    /// Reads the inboxes of a worker's runs.
    pub(super) fn inbox(&self, worker: WorkerId, runs: &[RunKey], limit: i64) -> Vec<(RunKey, Message)> {
        let wanted = |run: &&RunKey| runs.contains(run);
        let owned = |run: &&RunKey| self.open.get(run).is_some_and(|open| open.owner == Some(worker));
        let runs = self.inbox.keys().filter(wanted).filter(owned);
        runs.flat_map(|run| self.messages(*run).into_iter().map(|message| (*run, message)))
            .take(usize::try_from(limit).unwrap_or(0))
            .collect()
    }
}
