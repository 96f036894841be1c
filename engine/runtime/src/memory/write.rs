//! Transitions of owned runs: the fence, the refusal to close over unread messages, the rows.

use dacapo_core::{
    EventKind, Failure, Payload, RunKey, RunStatus, Timestamp, Transition, WorkerId,
    store::{Hint, RunResult, RunWrite, StartWrite, StoredTransition, WriteOutcome},
    transition::{ActivityRow, ActivityRowChange, ProblemChange, Successor},
};

use super::state::{ActivitySlot, Claim, ClosedRun, OutboxSlot, State};

impl State {
    /// Writes a transition under its fence.
    pub(super) fn write(&mut self, write: RunWrite, now: Timestamp) -> WriteOutcome {
        let RunWrite { owner, owner_epoch, transition } = write;
        let key = transition.key;
        let passes = self.open.get(&key).is_some_and(|run| {
            run.owner == Some(owner) && run.owner_epoch == owner_epoch && run.next_event_id == transition.first_event_id
        });
        if !passes {
            return WriteOutcome::Fenced;
        }
        if transition.closes.is_some() && self.has_unread(key, &transition) {
            return WriteOutcome::InboxNotEmpty;
        }
        self.append(transition, now);
        WriteOutcome::Applied
    }

    fn has_unread(&self, run: RunKey, transition: &Transition) -> bool {
        let mut waiting = self.inbox.get(&run).into_iter().flat_map(|inbox| inbox.keys());
        waiting.any(|id| !transition.consumed.contains(id))
    }

    /// Makes a transition true that was let through.
    pub(super) fn append(&mut self, mut transition: Box<Transition>, now: Timestamp) {
        let key = transition.key;
        let Some(run) = self.open.get_mut(&key) else { return };
        let owner_epoch = run.owner_epoch;
        run.next_event_id = transition.next_event_id();
        run.signals = transition.signals;
        match &transition.problem {
            ProblemChange::Keep => {}
            ProblemChange::Clear => run.problem = None,
            ProblemChange::Set(problem) => run.problem = Some((**problem).clone()),
        }
        if let Some(inbox) = self.inbox.get_mut(&key) {
            inbox.retain(|id, _| !transition.consumed.contains(id));
            if inbox.is_empty() {
                self.inbox.remove(&key);
            }
        }
        let owner = self.open.get(&key).and_then(|run| run.owner);
        self.write_rows(owner, &transition, now);
        let successor = transition.successor.take();
        if let Some(status) = transition.closes {
            self.file_closed(key, status, &transition, successor.as_deref(), now);
        }
        if !transition.events.is_empty() {
            let stored = StoredTransition { owner_epoch, written_at: now, events: transition.events };
            self.history.entry(key).or_default().push(stored);
        }
        if let Some(successor) = successor {
            let Successor { request, transition, ready_at, owned } = *successor;
            let owner = owner.filter(|owner| owned && self.is_live(*owner, now));
            self.insert_run(StartWrite { request, transition, owner, ready_at }, now);
        }
    }

    /// Writes what belongs to a transition beside its events.
    pub(super) fn write_rows(&mut self, owner: Option<WorkerId>, transition: &Transition, now: Timestamp) {
        let key = transition.key;
        for row in &transition.activities {
            self.write_activity(key, owner, row.clone(), now);
        }
        for id in &transition.dropped_activities {
            self.activities.remove(&(key, *id));
        }
        for id in &transition.canceled_activities {
            if let Some(slot) = self.activities.get_mut(&(key, *id)) {
                slot.cancel_requested = true;
                if slot.claim.is_none() && slot.row.state.asynchronous_since.is_none() {
                    slot.row.visible_at = slot.row.visible_at.min(now);
                    self.hints.push(Hint::ActivitiesReady(slot.row.task.task_queue.clone()));
                }
            }
        }
        for timer in &transition.timers {
            self.timers.insert((key, timer.timer_id), timer.fire_at);
        }
        for id in &transition.dropped_timers {
            self.timers.remove(&(key, *id));
        }
        for (name, value) in &transition.published {
            self.published.insert((key, name.clone()), value.clone());
        }
        self.write_between_runs(transition, now);
    }

    /// Writes what a transition wants of others, and what others want of it.
    fn write_between_runs(&mut self, transition: &Transition, now: Timestamp) {
        let key = transition.key;
        for change in &transition.activity_changes {
            self.change_activity(key, *change);
        }
        for message in &transition.inbox {
            self.inbox.entry(key).or_default().insert(message.id, message.body.clone());
        }
        if let (Some(attributes), Some(run)) = (&transition.attributes, self.open.get_mut(&key)) {
            run.facts.memo.clone_from(&attributes.memo);
            run.facts.search_attributes.clone_from(&attributes.search_attributes);
        }
        for row in &transition.outbox {
            self.outbox.insert((key, row.id), OutboxSlot { row: row.clone(), written_at: now });
        }
        for dead in &transition.dead_activities {
            self.dead_activities.insert((key, dead.activity_id), dead.clone());
        }
        if !transition.outbox.is_empty() {
            self.hints.push(Hint::Outbox);
        }
        for news in &transition.updates {
            self.updates.insert((key, news.update_id.clone(), news.message_id), news.stage.clone());
        }
        if !transition.updates.is_empty() {
            self.hints.push(Hint::Updated(vec![key]));
        }
    }

    fn change_activity(&mut self, run: RunKey, change: ActivityRowChange) {
        let Some(slot) = self.activities.get_mut(&(run, change.activity_id)) else { return };
        slot.row.state = change.state;
        if slot.claim.is_none() && !slot.reported {
            slot.row.visible_at = change.visible_at;
            self.hints.push(Hint::ActivitiesReady(slot.row.task.task_queue.clone()));
        }
    }

    fn write_activity(&mut self, run: RunKey, owner: Option<WorkerId>, row: ActivityRow, now: Timestamp) {
        let old = self.activities.get(&(run, row.activity_id));
        let claim = owner.filter(|_| row.claimed_by_owner);
        let claim = claim.map(|worker| Claim { worker, claimed_at: now, heard_at: now });
        let deadline = match (claim, row.state.asynchronous_since) {
            (Some(_), _) => row.task.running_deadline(now, now),
            (None, Some(since)) => row.task.running_deadline(since, now),
            (None, None) => row.task.waiting_deadline(),
        };
        // Token 0 is the owner's own; any other row gets one that no earlier claim has.
        let token = if claim.is_some() { 0 } else { old.map_or(0, |slot| slot.token) + 1 };
        if claim.is_none() {
            self.hints.push(Hint::ActivitiesReady(row.task.task_queue.clone()));
        }
        let deadline = deadline.map(|(at, _)| at);
        let id = row.activity_id;
        let slot =
            ActivitySlot { row, claim, token, cancel_requested: false, reported: false, deadline, heard_at: now };
        self.activities.insert((run, id), slot);
    }

    /// Moves a run to the closed ones; nothing points at it afterwards.
    fn file_closed(
        &mut self,
        key: RunKey,
        status: RunStatus,
        transition: &Transition,
        successor: Option<&Successor>,
        now: Timestamp,
    ) {
        let Some(run) = self.open.remove(&key) else { return };
        self.ready.remove(&key);
        let id = (run.facts.namespace.clone(), run.facts.workflow_id.clone());
        self.open_ids.remove(&id);
        self.closed_ids.entry(id).or_default().insert((run.facts.started_at, key));
        let (result, failure) = transition.events.last().map_or((None, None), |event| end(&event.event));
        let closed = ClosedRun {
            facts: run.facts,
            owner_epoch: run.owner_epoch,
            events: transition.next_event_id() - 1,
            result: RunResult {
                status,
                result,
                failure,
                closed_at: now,
                successor: successor.map(|successor| successor.request.run_id),
            },
        };
        self.closed.insert(key, closed);
        self.hints.push(Hint::Closed(vec![key]));
    }
}

/// What a closing event says of the run's end.
fn end(event: &EventKind) -> (Option<Payload>, Option<Failure>) {
    match event {
        EventKind::WorkflowExecutionCompleted(it) => (Some(it.result.clone()), None),
        EventKind::WorkflowExecutionFailed(it) => (None, Some(it.failure.clone())),
        EventKind::WorkflowExecutionCanceled(it) => (it.details.clone(), None),
        _ => (None, None),
    }
}
