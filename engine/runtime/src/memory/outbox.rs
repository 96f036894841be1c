//! Delivery of what transitions want of other runs.

use std::collections::BTreeSet;

use dacapo_core::{
    Message, MessageId, RunKey, Timestamp,
    outbox::{Delivered, ExternalTarget, OutboxBody, OutboxRow, TargetRun},
    store::{SendMessage, StartWrite, StoreResult},
};

use super::state::State;

impl State {
    /// Delivers rows, those of one run in the order of their ids.
    pub(super) fn deliver_outbox(&mut self, limit: i64, now: Timestamp) -> StoreResult<u64> {
        let limit = usize::try_from(limit).unwrap_or(0);
        let waiting: Vec<(RunKey, MessageId)> = self.outbox.keys().take(limit).copied().collect();
        let mut blocked = BTreeSet::new();
        let mut delivered = 0;
        for key in waiting {
            let (source, _) = key;
            let Some(row) = self.outbox.get(&key).filter(|_| !blocked.contains(&source)).map(|slot| slot.row.clone())
            else {
                continue;
            };
            let Some(outcome) = self.carry_out(&row, now)? else {
                blocked.insert(source);
                continue;
            };
            if let Some(Message { id, body }) =
                row.answer(source.run_id, outcome).filter(|_| self.open.contains_key(&source))
            {
                self.deliver(source, id, body, now);
            }
            self.outbox.remove(&key);
            delivered += 1;
        }
        Ok(delivered)
    }

    /// Does at the target what a row says. `None`: nothing definite came of it.
    fn carry_out(&mut self, row: &OutboxRow, now: Timestamp) -> StoreResult<Option<Delivered>> {
        match &row.body {
            OutboxBody::Start(request) => {
                let start = StartWrite {
                    transition: request.transition(now),
                    ready_at: now.plus_ms(request.start_delay_ms.unwrap_or(0)),
                    request: (**request).clone(),
                    owner: None,
                };
                Ok(Delivered::of_start(&self.start(start, now)?))
            }
            OutboxBody::Message(body) => {
                // Delivery and removal are one change: a row that is here has reached nobody yet.
                let Some(run) = self.target(&row.target) else { return Ok(Some(Delivered::NotFound)) };
                let message = Message { id: row.id, body: body.clone() };
                Ok(Some(Delivered::of_send(&self.send(SendMessage { run, message }, now))))
            }
        }
    }

    fn target(&self, target: &ExternalTarget) -> Option<RunKey> {
        let open = || self.open_ids.get(&(target.namespace.clone(), target.workflow_id.clone())).copied();
        match target.run {
            TargetRun::Run(run_id) => Some(RunKey { shard: target.shard(), run_id }),
            TargetRun::Open => open(),
            TargetRun::Chain(first) => {
                open().filter(|run| self.open.get(run).is_some_and(|it| it.facts.first_run_id == first))
            }
        }
    }
}
