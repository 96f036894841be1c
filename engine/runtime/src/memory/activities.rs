//! Attempts that wait for a worker, that a worker has claimed, and those whose time has passed.

use dacapo_core::{
    ActivityId, RunKey, Timestamp, WorkerId,
    activity::{ActivityOutcome, ActivityResult},
    store::{
        ActivityClaim, ActivityClaimRef, ActivityHeartbeat, ActivityReport, ClaimedActivity, HeartbeatAnswer, Hint,
        ReportOutcome, StoreResult,
    },
};

use super::state::{ActivitySlot, Claim, State};

impl State {
    /// Takes attempts, those of higher priority first, then those that have waited longest.
    pub(super) fn claim_activities(
        &mut self,
        worker: WorkerId,
        claim: &ActivityClaim,
        now: Timestamp,
    ) -> StoreResult<Vec<ClaimedActivity>> {
        self.live_worker(worker, now)?;
        let mut waiting: Vec<(u8, Timestamp, (RunKey, ActivityId))> = self
            .activities
            .iter()
            .filter(|(_, slot)| {
                let task = &slot.row.task;
                slot.claim.is_none()
                    && !slot.reported
                    && slot.row.visible_at <= now
                    && task.namespace == claim.namespace
                    && claim.queues.contains(&task.task_queue)
            })
            .map(|(key, slot)| (slot.row.task.priority, slot.row.visible_at, *key))
            .collect();
        waiting.sort_unstable();
        let keys = waiting.into_iter().take(claim.limit).map(|(_, _, key)| key);
        Ok(keys.filter_map(|key| Some(take(key, self.activities.get_mut(&key)?, worker, now))).collect())
    }

    /// Takes the report of a claimed attempt.
    pub(super) fn complete_activity(&mut self, report: ActivityReport, now: Timestamp) -> ReportOutcome {
        let ActivityReport { worker, claim, mut outcome } = report;
        let key = (claim.run, claim.activity_id);
        let Some(slot) = self.claimed(worker, &claim) else {
            let slot = self.activities.get(&key).filter(|slot| slot.reported);
            let resent = slot.is_some_and(|slot| slot.token == claim.token && slot.row.attempt == claim.attempt);
            return if resent { ReportOutcome::Accepted } else { ReportOutcome::Stale };
        };
        outcome.last_heartbeat = outcome.last_heartbeat.or_else(|| slot.row.last_heartbeat.clone());
        self.report(key, outcome, now);
        ReportOutcome::Accepted
    }

    /// Records signs of life of claimed attempts.
    pub(super) fn heartbeat(
        &mut self,
        worker: WorkerId,
        beats: Vec<ActivityHeartbeat>,
        now: Timestamp,
    ) -> Vec<HeartbeatAnswer> {
        let beat = |ActivityHeartbeat { claim, details }| {
            let slot = self.claimed(worker, &claim)?;
            let held = slot.claim.as_mut()?;
            held.heard_at = now;
            slot.deadline = slot.row.task.running_deadline(held.claimed_at, now).map(|(at, _)| at);
            slot.row.last_heartbeat = details.or(slot.row.last_heartbeat.take());
            Some(HeartbeatAnswer { claim, cancel_requested: slot.cancel_requested })
        };
        beats.into_iter().filter_map(beat).collect()
    }

    /// Offers claimed attempts again that never began.
    pub(super) fn return_activities(&mut self, worker: WorkerId, claims: &[ActivityClaimRef], now: Timestamp) {
        for claim in claims {
            let Some(slot) = self.claimed(worker, claim) else { continue };
            slot.claim = None;
            slot.row.visible_at = now;
            slot.deadline = slot.row.task.waiting_deadline().map(|(at, _)| at);
            let queue = slot.row.task.task_queue.clone();
            self.hints.push(Hint::ActivitiesReady(queue));
        }
    }

    /// Turns attempts whose time has passed, and that nobody watches, into messages.
    pub(super) fn expire_activities(&mut self, limit: i64, now: Timestamp) -> u64 {
        let overdue = self.activities.keys().copied().filter(|key| self.is_overdue(*key, now));
        let overdue: Vec<_> = overdue.take(usize::try_from(limit).unwrap_or(0)).collect();
        for key in &overdue {
            if let Some(outcome) = self.activities.get(key).and_then(|slot| self.timed_out(slot)) {
                self.report_for_worker(*key, outcome, now);
            }
        }
        overdue.len() as u64
    }

    /// Whether an attempt's time has passed and nobody watches it. Owners watch what they keep for themselves.
    pub(super) fn is_overdue(&self, key: (RunKey, ActivityId), now: Timestamp) -> bool {
        let slot = self.activities.get(&key).filter(|slot| !slot.is_kept());
        slot.and_then(|slot| slot.deadline).is_some_and(|deadline| deadline <= now)
    }

    fn timed_out(&self, slot: &ActivitySlot) -> Option<ActivityOutcome> {
        let task = &slot.row.task;
        let passed = match (slot.claim, slot.row.state.asynchronous_since) {
            (Some(claim), _) => task.running_deadline(claim.claimed_at, claim.heard_at),
            (None, Some(since)) => task.running_deadline(since, slot.heard_at),
            (None, None) => task.waiting_deadline(),
        };
        let (_, timeout) = passed?;
        let worker = slot.claim.and_then(|claim| self.workers.get(&claim.worker));
        Some(ActivityOutcome {
            activity_id: slot.row.activity_id,
            attempt: slot.row.attempt,
            started_at: slot.claim.map(|claim| claim.claimed_at).or(slot.row.state.asynchronous_since),
            identity: worker.map_or("", |row| row.registration.identity.as_str()).into(),
            last_heartbeat: slot.row.last_heartbeat.clone(),
            result: ActivityResult::TimedOut { timeout },
        })
    }

    /// The row of a claim that holds.
    fn claimed(&mut self, worker: WorkerId, claim: &ActivityClaimRef) -> Option<&mut ActivitySlot> {
        self.activities.get_mut(&(claim.run, claim.activity_id)).filter(|slot| {
            slot.token == claim.token
                && slot.row.attempt == claim.attempt
                && slot.claim.is_some_and(|held| held.worker == worker)
        })
    }
}

fn take(key: (RunKey, ActivityId), slot: &mut ActivitySlot, worker: WorkerId, now: Timestamp) -> ClaimedActivity {
    slot.token += 1;
    slot.claim = Some(Claim { worker, claimed_at: now, heard_at: now });
    slot.deadline = slot.row.task.running_deadline(now, now).map(|(at, _)| at);
    let mut task = (*slot.row.task).clone();
    task.last_heartbeat.clone_from(&slot.row.last_heartbeat);
    let claim = ActivityClaimRef { run: key.0, activity_id: key.1, attempt: slot.row.attempt, token: slot.token };
    ClaimedActivity { claim, task, cancel_requested: slot.cancel_requested }
}
