//! Membership of the fleet, and what becomes of those who leave it.

use std::time::Duration;

use dacapo_core::{
    ActivityId, Failure, RunKey, Timestamp, WorkerId,
    activity::{ActivityOutcome, ActivityResult},
    limits,
    message::MessageBody,
    store::{Beat, BeatInterest, Hint, StoreError, StoreResult, WorkerInfo, WorkerRegistration},
};

use super::state::{State, WorkerRow};

/// The time that the process which wrote rows of the outbox has for delivering them itself.
const OUTBOX_GRACE: Duration = Duration::from_secs(2);

impl State {
    /// Adds a worker.
    pub(super) fn register(&mut self, registration: &WorkerRegistration, now: Timestamp) -> StoreResult<Timestamp> {
        if self.workers.contains_key(&registration.worker) {
            let problem = format!("worker {} is registered already: take a fresh id", registration.worker);
            return Err(StoreError::Rejected { problem });
        }
        let row = WorkerRow {
            registration: registration.clone(),
            lease_until: now.plus(registration.lease),
            heard_at: now,
            dead: false,
            started_at: now,
            busy: 0,
            owned: 0,
        };
        self.workers.insert(registration.worker, row);
        Ok(now)
    }

    /// Renews a lease and looks around.
    pub(super) fn beat(&mut self, worker: WorkerId, interest: &BeatInterest, now: Timestamp) -> StoreResult<Beat> {
        let row = self.live_worker(worker, now)?;
        row.lease_until = now.plus(interest.lease);
        row.heard_at = now;
        row.busy = interest.busy;
        row.owned = interest.owned;
        let on_queue = |key: &RunKey| {
            self.open.get(key).is_some_and(|run| {
                run.facts.namespace == interest.namespace && interest.queues.contains(&run.facts.task_queue)
            })
        };
        let runs = self.ready.iter().filter(|(key, _)| on_queue(key)).map(|(_, row)| row.visible_at);
        let (runs_ready, next_run) = ready_and_next(runs, now);
        let activities = self.activities.values().filter(|slot| {
            let task = &slot.row.task;
            let offered = slot.claim.is_none() && !slot.reported;
            offered && task.namespace == interest.namespace && interest.queues.contains(&task.task_queue)
        });
        let (activities_ready, next_activity) = ready_and_next(activities.map(|slot| slot.row.visible_at), now);
        let next_timer = self.next_timer_due();
        let next_deadline =
            self.activities.values().filter(|slot| !slot.is_kept()).filter_map(|slot| slot.deadline).min();
        let lapsed = self.workers.iter().filter(|(_, row)| row.dead || row.lease_until <= now);
        Ok(Beat {
            now,
            lapsed: lapsed.map(|(id, _)| *id).collect(),
            runs_ready,
            activities_ready,
            inbox_waiting: self.inbox.keys().any(|run| self.open.get(run).is_some_and(|it| it.owner == Some(worker))),
            // Nothing is handed to anybody here.
            starts_handed: false,
            starts_untaken: false,
            outbox_waiting: self.outbox.values().any(|slot| slot.written_at.plus(OUTBOX_GRACE) <= now),
            activities_overdue: self.activities.keys().any(|key| self.is_overdue(*key, now)),
            next_due_at: [next_run, next_activity, next_timer, next_deadline].into_iter().flatten().min(),
        })
    }

    /// Declares that a worker has left.
    pub(super) fn deregister(&mut self, worker: WorkerId) {
        if let Some(row) = self.workers.get_mut(&worker) {
            row.dead = true;
            self.hints.push(Hint::WorkerGone);
        }
        let owns = self.open.values().any(|run| run.owner == Some(worker));
        let claims = self.activities.values().any(|slot| slot.claim.is_some_and(|claim| claim.worker == worker));
        if !owns && !claims {
            self.workers.remove(&worker);
        }
    }

    /// Takes over one batch of what a lapsed worker owned and had claimed; forgets the worker when nothing is left.
    pub(super) fn take_over(&mut self, dead: WorkerId, limit: i64, now: Timestamp) -> u64 {
        if self.is_live(dead, now) {
            return 0;
        }
        let limit = usize::try_from(limit).unwrap_or(0);
        let Some(row) = self.workers.get_mut(&dead) else { return 0 };
        row.dead = true;
        let (identity, heard_at) = (row.registration.identity.clone(), row.heard_at);
        let owned = self.open.values().filter(|run| run.owner == Some(dead)).map(|run| run.facts.key);
        let owned: Vec<RunKey> = owned.take(limit).collect();
        for key in &owned {
            self.take_run_over(*key, Some(heard_at), now);
        }
        let claimed = self.activities.iter().filter(|(_, slot)| slot.claim.is_some_and(|claim| claim.worker == dead));
        let claimed: Vec<(RunKey, ActivityId)> =
            claimed.map(|(key, _)| *key).take(limit.saturating_sub(owned.len())).collect();
        for key in &claimed {
            self.report_lost(*key, &identity, now);
        }
        let moved = owned.len() + claimed.len();
        if moved == 0 {
            self.workers.remove(&dead);
        }
        moved as u64
    }

    /// Leaves a run without an owner and before everybody; one whose owners died too often, shortly after they had taken it
    /// and without progress, is parked until a message comes for it.
    pub(super) fn take_run_over(&mut self, key: RunKey, heard_at: Option<Timestamp>, now: Timestamp) {
        let Some(run) = self.open.get_mut(&key) else { return };
        run.owner = None;
        run.owner_epoch += 1;
        let lived_with_it = heard_at.is_some_and(|at| at.since(run.taken_at) >= limits::TAKEOVER_COUNTS_WITHIN);
        let is_innocent = lived_with_it || run.next_event_id > run.progress_event_id;
        run.takeovers = if is_innocent { 1 } else { run.takeovers + 1 };
        run.progress_event_id = run.next_event_id;
        run.parked_at = (run.takeovers >= limits::TAKEOVERS_WITHOUT_PROGRESS_MAX).then_some(now);
        if run.parked_at.is_none() {
            self.make_ready(key, now);
        }
    }

    /// Tells a run that the process which ran an attempt is gone. Whether there is another attempt, the run decides.
    fn report_lost(&mut self, key: (RunKey, ActivityId), identity: &str, now: Timestamp) {
        let Some(slot) = self.activities.get_mut(&key) else { return };
        let attempt = slot.row.attempt;
        let outcome = ActivityOutcome {
            activity_id: key.1,
            attempt,
            started_at: slot.claim.take().map(|claim| claim.claimed_at),
            identity: identity.into(),
            last_heartbeat: slot.row.last_heartbeat.clone(),
            result: ActivityResult::Failed(Failure::lost_attempt(attempt)),
        };
        self.report_for_worker(key, outcome, now);
    }

    /// Reports an attempt in place of its worker, whose own report comes too late from now on.
    pub(super) fn report_for_worker(&mut self, key: (RunKey, ActivityId), outcome: ActivityOutcome, now: Timestamp) {
        if let Some(slot) = self.activities.get_mut(&key) {
            slot.token += 1;
        }
        self.report(key, outcome, now);
    }

    /// Marks an attempt as reported and sends its outcome to its run.
    pub(super) fn report(&mut self, key: (RunKey, ActivityId), outcome: ActivityOutcome, now: Timestamp) {
        let Some(slot) = self.activities.get_mut(&key) else { return };
        (slot.reported, slot.claim, slot.deadline) = (true, None, None);
        let id = outcome.message_id(key.0.run_id);
        self.deliver(key.0, id, MessageBody::ActivityOutcome(Box::new(outcome)), now);
    }

    /// Describes the members of the fleet.
    pub(super) fn workers(&self, now: Timestamp) -> Vec<WorkerInfo> {
        let live = self.workers.iter().filter(|(_, row)| !row.dead && row.lease_until > now);
        live.map(|(worker, row)| WorkerInfo {
            worker: *worker,
            identity: row.registration.identity.clone(),
            build_id: row.registration.build_id.clone(),
            queues: row.registration.queues.clone(),
            workflow_types: row.registration.workflow_types.clone(),
            activity_types: row.registration.activity_types.clone(),
            lease_until: row.lease_until,
            started_at: row.started_at,
            slots: row.registration.slots as i64,
            busy: row.busy as i64,
            owned: row.owned as i64,
            takes_starts: false,
        })
        .collect()
    }
}

/// Whether something is visible by now, and when the next thing will be that is not yet.
fn ready_and_next(times: impl Iterator<Item = Timestamp>, now: Timestamp) -> (bool, Option<Timestamp>) {
    let (visible, later): (Vec<_>, Vec<_>) = times.partition(|at| *at <= now);
    (!visible.is_empty(), later.into_iter().min())
}
