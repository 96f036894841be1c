//! Ownership of runs: claim, load, fence, give back.

use dacapo_core::{
    RunKey, Timestamp, WorkerId,
    store::{ClaimedRuns, LoadedRun, ReleaseOutcome, ReleaseRun, RunClaim, RunsPart, StoreResult},
};

use super::state::State;

impl State {
    /// Takes unowned runs, those of higher priority first, then those that have waited longest.
    pub(super) fn claim_runs(
        &mut self,
        worker: WorkerId,
        claim: &RunClaim,
        now: Timestamp,
    ) -> StoreResult<ClaimedRuns> {
        self.live_worker(worker, now)?;
        let mut waiting: Vec<(u8, Timestamp, RunKey)> = self
            .ready
            .iter()
            .filter(|(_, row)| row.visible_at <= now)
            .filter_map(|(key, row)| {
                let facts = &self.open.get(key)?.facts;
                let wanted = facts.namespace == claim.namespace
                    && claim.queues.contains(&facts.task_queue)
                    && claim.workflow_types.contains(&facts.workflow_type);
                wanted.then_some((facts.priority, row.visible_at, *key))
            })
            .collect();
        waiting.sort_unstable();
        let mut claimed = ClaimedRuns::default();
        for (_, _, key) in waiting.into_iter().take(claim.limit) {
            self.ready.remove(&key);
            let Some(run) = self.open.get_mut(&key) else { continue };
            if let Some(owner) = run.owner {
                claimed.stale.push((key, owner));
                continue;
            }
            run.owner = Some(worker);
            run.owner_epoch += 1;
            run.taken_at = now;
            run.parked_at = None;
            claimed.runs.extend(self.load(&[key]));
        }
        Ok(claimed)
    }

    /// Reads what belongs to open runs.
    pub(super) fn load(&self, runs: &[RunKey]) -> Vec<LoadedRun> {
        let load = |key: &RunKey| {
            let run = self.open.get(key)?;
            let history = self.history.get(key).into_iter().flatten();
            let activities = self.activities_of(*key);
            Some(LoadedRun {
                key: *key,
                owner: run.owner,
                owner_epoch: run.owner_epoch,
                events: history.flat_map(|transition| transition.events.iter().cloned()).collect(),
                inbox: self.messages(*key),
                activities: activities.map(|(_, slot)| slot.loaded()).collect(),
            })
        };
        runs.iter().filter_map(load).collect()
    }

    /// Raises the owner epoch of a run that the worker still owns under an epoch.
    pub(super) fn fence(&mut self, worker: WorkerId, key: RunKey, epoch: i32) -> Option<i32> {
        let run = self.open.get_mut(&key)?;
        if run.owner != Some(worker) || run.owner_epoch != epoch {
            return None;
        }
        run.owner_epoch += 1;
        Some(run.owner_epoch)
    }

    /// Gives one run back.
    pub(super) fn release(&mut self, worker: WorkerId, release: &ReleaseRun, now: Timestamp) -> ReleaseOutcome {
        let key = release.key;
        let unread = self.inbox.contains_key(&key);
        let Some(run) = self.open.get_mut(&key) else { return ReleaseOutcome::Fenced };
        let fence = (run.owner, run.owner_epoch, run.next_event_id);
        if fence != (Some(worker), release.owner_epoch, release.next_event_id) {
            return ReleaseOutcome::Fenced;
        }
        if unread {
            return ReleaseOutcome::InboxNotEmpty;
        }
        run.owner = None;
        if let Some(ready_at) = release.ready_at {
            self.make_ready(key, ready_at.max(now));
        }
        ReleaseOutcome::Released
    }

    /// Lists the runs that name a worker as their owner; the parts are cut by shard.
    pub(super) fn owned_runs(&self, worker: WorkerId, part: RunsPart) -> Vec<(RunKey, i32)> {
        let in_part = |run: &RunKey| u32::from(run.shard.0.unsigned_abs()) % part.of == part.index;
        let owned = self.open.values().filter(|run| run.owner == Some(worker) && in_part(&run.facts.key));
        owned.map(|run| (run.facts.key, run.owner_epoch)).collect()
    }
}
