//! Starts: all of a run's first rows, or nothing.

use dacapo_core::{
    IdConflictPolicy, IdReusePolicy, MessageBody, MessageId, RunKey, RunStatus, Timestamp, limits,
    store::{Hint, StartOutcome, StartWrite, StoreError, StoreResult, StoredTransition},
    transition::ProblemChange,
};

use super::state::{OpenRun, RunFacts, State};

impl State {
    /// Starts a run, or says what stands in its way.
    pub(super) fn start(&mut self, start: StartWrite, now: Timestamp) -> StoreResult<StartOutcome> {
        let key = start.request.key();
        let id = (start.request.namespace.clone(), start.request.workflow_id.clone());
        // A start without a request id that may be answered with another run is remembered by its own run id, so that
        // a resend gets the same answer.
        let known_by = start.request.request_id.clone().or_else(|| {
            let may_use_another = start.request.conflict_policy == IdConflictPolicy::UseExisting;
            may_use_another.then(|| start.request.run_id.to_string())
        });
        let request = known_by.map(|request| (id.0.clone(), id.1.clone(), request));
        if let Some(outcome) = self.carried_out_before(&start, request.as_ref()) {
            return Ok(outcome);
        }
        if start.owner.is_some_and(|owner| !self.is_live(owner, now)) {
            return Ok(StartOutcome::OwnerLost);
        }
        if let Some(run) = self.open_ids.get(&id).copied() {
            match start.request.conflict_policy {
                IdConflictPolicy::Fail => return Ok(StartOutcome::AlreadyOpen { run_id: run.run_id }),
                IdConflictPolicy::UseExisting => {
                    self.signal_existing(run, &start, now)?;
                    self.start_requests.extend(request.map(|request| (request, run)));
                    return Ok(StartOutcome::UsedExisting { run });
                }
                IdConflictPolicy::TerminateExisting => self.replace(run, &start, now)?,
            }
        } else if let Some(refused) = self.reuse_refused(&id, start.request.reuse_policy) {
            return Ok(refused);
        }
        self.start_requests.extend(request.map(|request| (request, key)));
        self.insert_run(start, now);
        Ok(StartOutcome::Started)
    }

    /// Finds the run of the same start, or of the same request.
    fn carried_out_before(
        &self,
        start: &StartWrite,
        request: Option<&(dacapo_core::Namespace, dacapo_core::WorkflowId, String)>,
    ) -> Option<StartOutcome> {
        let key = start.request.key();
        let exists = self.open.contains_key(&key) || self.closed.contains_key(&key);
        let run = if exists { key } else { *request.and_then(|request| self.start_requests.get(request))? };
        if run != key && start.request.request_id.is_none() {
            return Some(StartOutcome::UsedExisting { run });
        }
        let owned = run == key
            && start.owner.is_some()
            && self.open.get(&run).is_some_and(|open| open.owner == start.owner && open.owner_epoch == 1);
        Some(StartOutcome::Duplicate { run, owned })
    }

    fn reuse_refused(
        &self,
        id: &(dacapo_core::Namespace, dacapo_core::WorkflowId),
        policy: IdReusePolicy,
    ) -> Option<StartOutcome> {
        let (_, last) = self.closed_ids.get(id)?.last()?;
        let completed = self.closed.get(last)?.result.status == RunStatus::Completed;
        let refused = match policy {
            IdReusePolicy::AllowDuplicate => false,
            IdReusePolicy::AllowDuplicateFailedOnly => completed,
            IdReusePolicy::RejectDuplicate => true,
        };
        refused.then_some(StartOutcome::ReuseRefused { run_id: last.run_id })
    }

    /// Delivers the signal that came with a start to the run that is there.
    fn signal_existing(&mut self, run: RunKey, start: &StartWrite, now: Timestamp) -> StoreResult<()> {
        let Some(signal) = start.request.signal.clone() else { return Ok(()) };
        if self.is_full(run, &signal.body) {
            let problem = format!(
                "run {} has received {} signals, the most that a run may: start a new workflow for further ones",
                run.run_id,
                limits::SIGNALS_MAX
            );
            return Err(StoreError::Rejected { problem });
        }
        self.deliver(run, signal.id, signal.body, now);
        Ok(())
    }

    /// Ends the run that is in the way of a start, whoever owns it.
    fn replace(&mut self, run: RunKey, start: &StartWrite, now: Timestamp) -> StoreResult<()> {
        let reason = format!("replaced by run {}", start.request.run_id);
        let body = MessageBody::Terminate { reason, identity: start.request.identity.clone() };
        // The message never travels; the new run's id makes it this start's own.
        self.end_from_outside(run, MessageId(start.request.run_id.0), body, now)
    }

    /// Opens a run with all of its first rows; its workflow id is free.
    pub(super) fn insert_run(&mut self, start: StartWrite, now: Timestamp) {
        let StartWrite { request, transition, owner, ready_at } = start;
        let key = request.key();
        let owner_epoch = i32::from(owner.is_some());
        let run = OpenRun {
            facts: RunFacts::of(&request, transition.events.first().map_or(now, |event| event.event_time)),
            owner,
            owner_epoch,
            next_event_id: transition.next_event_id(),
            signals: transition.signals,
            progress_event_id: 0,
            taken_at: now,
            takeovers: 0,
            parked_at: None,
            problem: match &transition.problem {
                ProblemChange::Set(problem) => Some((**problem).clone()),
                ProblemChange::Keep | ProblemChange::Clear => None,
            },
        };
        self.open_ids.insert((request.namespace.clone(), request.workflow_id.clone()), key);
        self.open.insert(key, run);
        self.write_rows(owner, &transition, now);
        let stored = StoredTransition { owner_epoch, written_at: now, events: transition.events };
        self.history.insert(key, vec![stored]);
        if owner.is_none() {
            self.make_ready(key, ready_at.max(now));
            self.hints.push(Hint::RunsReady(request.task_queue));
        }
    }
}
