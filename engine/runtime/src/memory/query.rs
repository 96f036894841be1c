//! What is read to show, list and wait for runs.

use std::collections::BTreeMap;

use dacapo_core::{
    MessageId, Namespace, RunId, RunKey, TaskQueue, Timestamp, WorkflowId,
    store::{ActivityInfo, QueueDepth, RunDescription, RunFilter, RunInfo, RunResult, StoredTransition, WorkerInfo},
    update::UpdateStage,
};

use super::state::State;

impl State {
    /// Finds the newest run of a workflow id, or a given one.
    pub(super) fn find_run(&self, namespace: &Namespace, id: &WorkflowId, run_id: Option<RunId>) -> Option<RunInfo> {
        let id = (namespace.clone(), id.clone());
        let open = self.open_ids.get(&id).copied();
        let mut closed = self.closed_ids.get(&id).into_iter().flatten().map(|(_, key)| *key);
        let found = match run_id {
            Some(run_id) => open.into_iter().chain(closed).find(|key| key.run_id == run_id),
            None => open.or(closed.next_back()),
        };
        self.info(found?)
    }

    /// Describes one run.
    pub(super) fn describe(&self, key: RunKey, now: Timestamp) -> Option<RunDescription> {
        let info = self.info(key)?;
        let open = self.open.get(&key);
        let owner = open.and_then(|run| run.owner);
        let identity = owner.and_then(|owner| self.workers.get(&owner).map(|row| (owner, &row.registration.identity)));
        let identity = identity.map(|(owner, name)| match self.is_live(owner, now) {
            true => name.clone(),
            false => format!("{name} (gone)"),
        });
        let timers = self.timers.range((key, 0)..=(key, u64::MAX));
        let mut timers: Vec<_> = timers.map(|((_, id), at)| (*id, *at)).collect();
        timers.sort_unstable_by_key(|(id, at)| (*at, *id));
        let activities = self.activities_of(key).map(|(activity_id, slot)| ActivityInfo {
            activity_id,
            activity_type: slot.row.task.activity_type.to_string(),
            task_queue: slot.row.task.task_queue.clone(),
            attempt: slot.row.attempt,
            visible_at: slot.row.visible_at,
            claimed_by: slot.claim.map(|claim| claim.worker),
            claimed_at: slot.claim.map(|claim| claim.claimed_at),
            last_failure: slot.row.last_failure.clone(),
            last_heartbeat: slot.row.last_heartbeat.clone(),
            asynchronous: slot.row.state.asynchronous_since.is_some(),
        });
        Some(RunDescription {
            info,
            owner,
            owner_identity: identity,
            owner_epoch: open.map_or_else(|| self.closed.get(&key).map_or(0, |it| it.owner_epoch), |it| it.owner_epoch),
            ready_at: self.ready.get(&key).map(|row| row.visible_at),
            inbox: self.inbox.get(&key).map_or(0, BTreeMap::len) as i64,
            problem: open.and_then(|run| run.problem.clone()),
            parked: open.is_some_and(|run| run.parked_at.is_some()),
            activities: activities.collect(),
            timers,
            result: self.closed.get(&key).map(|run| run.result.clone()),
            branches: self.branches.get(&key).cloned().unwrap_or_default(),
            now,
        })
    }

    /// Reads a history from an event id on.
    pub(super) fn history(&self, run: RunKey, from_event_id: i64, limit: i64) -> Vec<StoredTransition> {
        let stored = self.history.get(&run).into_iter().flatten();
        stored
            .filter(|it| it.events.last().is_some_and(|event| event.event_id >= from_event_id))
            .take(usize::try_from(limit).unwrap_or(0))
            .cloned()
            .collect()
    }

    /// Gives the ends of those of the runs that are closed.
    pub(super) fn results(&self, runs: &[RunKey]) -> Vec<(RunKey, RunResult)> {
        runs.iter().filter_map(|run| Some((*run, self.closed.get(run)?.result.clone()))).collect()
    }

    /// Lists the runs that a filter lets through, wherever it goes on from.
    fn listed(&self, filter: &RunFilter) -> impl Iterator<Item = RunInfo> {
        let namespace = filter.namespace.clone().unwrap_or_else(Namespace::default_namespace);
        let condition = filter.whole_condition();
        let runs = self.open.keys().chain(self.closed.keys()).filter_map(|key| self.info(*key));
        runs.filter(move |run| run.namespace == namespace && condition.matches(run))
    }

    /// Counts runs.
    pub(super) fn count(&self, filter: &RunFilter) -> u64 {
        self.listed(filter).count() as u64
    }

    /// Lists runs in the order of the filter.
    pub(super) fn list(&self, filter: &RunFilter, limit: i64) -> Vec<RunInfo> {
        let order = &filter.order;
        let mut runs: Vec<_> = self.listed(filter).map(|run| (order.cursor(&run), run)).collect();
        if let Some(after) = &filter.after {
            runs.retain(|(place, _)| order.compare(place, after).is_gt());
        }
        runs.sort_by(|(a, _), (b, _)| order.compare(a, b));
        runs.into_iter().map(|(_, run)| run).take(usize::try_from(limit).unwrap_or(0)).collect()
    }

    /// Says how far an update has come for one who asked for it.
    pub(super) fn update_stage(&self, run: RunKey, update_id: &str, message: MessageId) -> Option<UpdateStage> {
        let stage = |message| self.updates.get(&(run, update_id.to_owned(), message)).cloned();
        UpdateStage::furthest(stage(Some(message)), stage(None))
    }

    /// Names the values that a workflow published.
    pub(super) fn published_names(&self, run: RunKey) -> Vec<String> {
        let of_run = self.published.range((run, String::new())..).take_while(|((of, _), _)| *of == run);
        of_run.map(|((_, name), _)| name.clone()).collect()
    }

    /// Counts what waits on queues.
    pub(super) fn queue_depths(&self, now: Timestamp) -> Vec<QueueDepth> {
        let mut depths: BTreeMap<(Namespace, TaskQueue), (u64, u64)> = BTreeMap::new();
        for (key, row) in &self.ready {
            let Some(run) = self.open.get(key).filter(|_| row.visible_at <= now) else { continue };
            let queue = (run.facts.namespace.clone(), run.facts.task_queue.clone());
            depths.entry(queue).or_default().0 += 1;
        }
        for slot in self.activities.values() {
            if slot.claim.is_none() && !slot.reported && slot.row.visible_at <= now {
                let queue = (slot.row.task.namespace.clone(), slot.row.task.task_queue.clone());
                depths.entry(queue).or_default().1 += 1;
            }
        }
        let depth =
            |((namespace, task_queue), (runs, activities))| QueueDepth { namespace, task_queue, runs, activities };
        depths.into_iter().map(depth).collect()
    }

    /// Names the live workers of a queue.
    pub(super) fn served(&self, namespace: &Namespace, queue: &TaskQueue, now: Timestamp) -> Vec<WorkerInfo> {
        let mut workers = self.workers(now);
        workers.retain(|worker| {
            let row = self.workers.get(&worker.worker);
            row.is_some_and(|row| row.registration.namespace == *namespace) && worker.queues.contains(queue)
        });
        workers
    }

    /// When the next thing is due that only time brings: a timer, a delayed run or attempt, an attempt's deadline.
    pub(super) fn next_due_at(&self, now: Timestamp) -> Option<Timestamp> {
        let runs = self.ready.values().map(|row| row.visible_at);
        let attempts = self.activities.values().filter(|slot| !slot.reported);
        let attempts = attempts.flat_map(|slot| {
            let visible_at = slot.claim.is_none().then_some(slot.row.visible_at);
            visible_at.into_iter().chain(slot.deadline)
        });
        self.timers.values().copied().chain(runs).chain(attempts).filter(|at| *at > now).min()
    }
}
