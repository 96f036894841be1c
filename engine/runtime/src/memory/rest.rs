//! Whether anything waits in the tables that a worker could take at this moment: asked by virtual time before it moves.

use std::collections::{BTreeMap, HashSet};

use dacapo_core::{ActivityId, MessageBody, MessageId, Namespace, RunKey, TaskQueue, Timestamp, WorkflowType};

use super::state::{ActivitySlot, OpenRun, State};

impl State {
    /// Whether only time or somebody outside can bring something to do. `runs` says which attempts are under way,
    /// `waiting` which messages their owners know and leave where they are: requests that the code has not taken on.
    /// `known` are the runs that their owners have in memory; another that has an owner is on its way to it.
    pub(super) fn is_at_rest(
        &self,
        now: Timestamp,
        runs: impl Fn(RunKey, ActivityId) -> bool,
        waiting: &HashSet<(RunKey, MessageId)>,
        known: &HashSet<RunKey>,
    ) -> bool {
        let owned = |run: &RunKey| self.open.get(run).is_some_and(|run| run.owner.is_some());
        let unread = |(run, inbox): (&RunKey, &BTreeMap<MessageId, MessageBody>)| {
            owned(run) && inbox.keys().any(|message| !waiting.contains(&(*run, *message)))
        };
        let coming = |(key, run): (&RunKey, &OpenRun)| {
            run.owner.is_some_and(|owner| self.is_live(owner, now)) && !known.contains(key)
        };
        !self.inbox.iter().any(unread)
            && !self.open.iter().any(coming)
            && !self.ready.iter().any(|(run, row)| row.visible_at <= now && self.would_be_claimed(run, now))
            && !self.timers.iter().any(|((run, _), at)| *at <= now && self.open.contains_key(run) && !owned(run))
            && self.activities.iter().all(|((run, id), slot)| match slot.claim {
                Some(_) => slot.reported || runs(*run, *id),
                None => !self.would_be_begun(slot, now),
            })
            && !self.activities.keys().any(|key| self.is_overdue(*key, now))
            && (self.outbox.is_empty() || !self.workers.keys().any(|worker| self.is_live(*worker, now)))
    }

    fn would_be_claimed(&self, run: &RunKey, now: Timestamp) -> bool {
        let Some(OpenRun { facts, .. }) = self.open.get(run) else { return false };
        self.serves(&facts.namespace, &facts.task_queue, Some(&facts.workflow_type), now)
    }

    fn would_be_begun(&self, slot: &ActivitySlot, now: Timestamp) -> bool {
        let task = &slot.row.task;
        !slot.reported && slot.row.visible_at <= now && self.serves(&task.namespace, &task.task_queue, None, now)
    }

    /// Whether a worker takes runs of a type, or without one activities, from a queue.
    fn serves(
        &self,
        namespace: &Namespace,
        queue: &TaskQueue,
        workflow_type: Option<&WorkflowType>,
        now: Timestamp,
    ) -> bool {
        self.workers.values().filter(|row| !row.dead && row.lease_until > now).any(|row| {
            let worker = &row.registration;
            worker.namespace == *namespace
                && worker.queues.contains(queue)
                && workflow_type.is_none_or(|it| worker.workflow_types.contains(it))
        })
    }
}
