//! Activities that this process runs: those of its own runs at once, those it claimed from `activities`.
//!
//! Invariant: an attempt begins only after what scheduled it is committed, and only with a slot. What became of it goes
//! to the run's owner: in this process directly, through the inbox for a claimed one. Nothing here decides on retries.

mod attempt;
mod heartbeat;
mod local;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use dacapo_core::{
    ActivityId, ActivityOutcome, ActivityType, Payload, RunKey, Store, WorkerId,
    run_hash::BuildRunHasher,
    store::{ActivityClaimRef, ClaimedActivity, LoadedRun},
    transition::ActivityTask,
};
use tokio::{runtime::Handle, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use local::LocalId;

use crate::{clock::Clock, executor::ActivityRunner, owner::Owners, virtual_time::AttemptKey};

/// Where an attempt came from, and so where its outcome goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Origin {
    /// A run of this process.
    Local,
    /// A claimed row of `activities`.
    Claimed(ActivityClaimRef),
}

#[derive(Debug)]
struct Running {
    attempt: u32,
    /// Whether its run asked for it to stop, rather than this process.
    asked: Arc<AtomicBool>,
    canceled: CancellationToken,
    /// Ends the attempt without an outcome: it is not this process's any more, or the process is stopping.
    abandoned: CancellationToken,
    claimed: bool,
}

type RunningAttempts = HashMap<(RunKey, ActivityId), Running, BuildRunHasher>;

/// Runs attempts.
pub(crate) struct ActivityPool {
    runner: Arc<dyn ActivityRunner>,
    types: Vec<ActivityType>,
    store: Arc<dyn Store>,
    clock: Arc<Clock>,
    worker: WorkerId,
    identity: Arc<str>,
    handle: Handle,
    slots: Arc<Semaphore>,
    slots_max: usize,
    /// Local activities have slots of their own, as many: what a workflow waits for in between is not held up by what
    /// takes long.
    local_slots: Semaphore,
    local: local::LocalCalls,
    tracker: TaskTracker,
    running: Mutex<RunningAttempts>,
    owners: std::sync::OnceLock<Owners>,
    /// Rung when a slot becomes free, for the claimer.
    pub(crate) freed: tokio::sync::Notify,
}

impl std::fmt::Debug for ActivityPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ActivityPool").field("types", &self.types).finish_non_exhaustive()
    }
}

/// Claimed attempts that ran here at a moment: each reports its end to the database.
#[derive(Debug)]
pub(crate) struct Reporting(HashSet<(RunKey, ActivityId)>);

impl Reporting {
    /// Takes the claims of these attempts out of a run that was read after that moment. One may have ended since: the run was
    /// read with the claim, the attempt is not here any more, and its outcome waits in the inbox. Whoever took it for lost
    /// would throw that outcome away. An attempt that did not run at the moment and that the read shows as claimed by this
    /// process is lost indeed, because an attempt is here until its end is told.
    pub(crate) fn leave_out(&self, loaded: &mut LoadedRun) {
        for (row, claimer) in &mut loaded.activities {
            if self.0.contains(&(loaded.key, row.activity_id)) {
                *claimer = None;
            }
        }
    }
}

impl ActivityPool {
    pub(crate) fn new(
        runner: Arc<dyn ActivityRunner>,
        store: Arc<dyn Store>,
        clock: Arc<Clock>,
        (worker, identity): (WorkerId, Arc<str>),
        slots_max: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            types: runner.activity_types().into_iter().filter(|it| !runner.is_transactional(it)).collect(),
            runner,
            store,
            clock,
            worker,
            identity,
            handle: Handle::current(),
            slots: Arc::new(Semaphore::new(slots_max)),
            slots_max,
            local_slots: Semaphore::new(slots_max),
            local: local::LocalCalls::default(),
            tracker: TaskTracker::new(),
            running: Mutex::default(),
            owners: std::sync::OnceLock::new(),
            freed: tokio::sync::Notify::new(),
        })
    }

    /// Says where the outcomes of local attempts go.
    pub(crate) fn connect(&self, owners: Owners) {
        let _ = self.owners.set(owners);
    }

    /// Whether the process may run an activity of this type beside its run, without a row that names the attempt.
    pub(crate) fn serves(&self, activity_type: &ActivityType) -> bool {
        self.types.contains(activity_type)
    }

    /// Slots that are free.
    pub(crate) fn room(&self) -> usize {
        self.slots.available_permits()
    }

    /// Every attempt that runs or waits for a slot here, and whether it was told to stop.
    pub(crate) fn attempts(&self) -> Vec<(AttemptKey, bool)> {
        let running = self.lock();
        let attempts = running.iter().map(|((run, id), it)| ((*run, *id, it.attempt), it.canceled.is_cancelled()));
        attempts.chain(self.local.attempts()).collect()
    }

    /// Attempts that run or wait for a slot here.
    pub(crate) fn busy(&self) -> usize {
        self.lock().len() + self.local.count()
    }

    /// Whether another local attempt may wait here, as long as others could take it instead.
    pub(crate) fn has_room(&self) -> bool {
        self.lock().len() < self.slots_max
    }

    /// Begins an attempt of a run of this process, after the commit that scheduled it.
    pub(crate) fn start_local(self: &Arc<Self>, task: ActivityTask) {
        self.begin(task, Origin::Local, false);
    }

    /// Begins a claimed attempt.
    pub(crate) fn start_claimed(self: &Arc<Self>, claimed: ClaimedActivity) {
        self.begin(claimed.task, Origin::Claimed(claimed.claim), claimed.cancel_requested);
    }

    /// Tells an attempt to stop; what it says then is its outcome.
    pub(crate) fn cancel(&self, run: RunKey, activity_id: ActivityId) {
        if let Some(running) = self.lock().get(&(run, activity_id)) {
            running.asked.store(true, Ordering::Relaxed);
            running.canceled.cancel();
        }
    }

    /// The attempt of an activity that runs here for its run's owner in this process.
    pub(crate) fn local_attempt(&self, run: RunKey, activity_id: ActivityId) -> Option<u32> {
        self.lock().get(&(run, activity_id)).filter(|running| !running.claimed).map(|running| running.attempt)
    }

    /// The claimed attempts that run here, to be asked for before runs are read ([`Reporting::leave_out`]).
    pub(crate) fn reporting(&self) -> Reporting {
        Reporting(self.lock().iter().filter(|(_, running)| running.claimed).map(|(key, _)| *key).collect())
    }

    /// Whether any attempt of a claimed row of this activity runs here.
    pub(crate) fn runs(&self, run: RunKey, activity_id: ActivityId) -> bool {
        self.lock().contains_key(&(run, activity_id))
    }

    /// Ends an attempt of a run that is not this process's any more.
    pub(crate) fn abandon(&self, run: RunKey, activity_id: ActivityId) {
        if let Some(running) = self.lock().get(&(run, activity_id)) {
            running.canceled.cancel();
            running.abandoned.cancel();
        }
    }

    /// Tells every attempt that the process stops.
    pub(crate) fn cancel_all(&self) {
        self.slots.close();
        self.local_slots.close();
        self.lock().values().for_each(|running| running.canceled.cancel());
        self.local.cancel_all();
    }

    /// Ends every attempt; local ones are reported as lost, claimed ones are reported to their runs as such.
    pub(crate) fn abandon_all(&self) {
        self.slots.close();
        self.local_slots.close();
        self.lock().values().for_each(|running| running.abandoned.cancel());
        self.local.abandon_all();
    }

    /// Waits until no attempt runs.
    pub(crate) async fn drained(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    fn begin(self: &Arc<Self>, task: ActivityTask, origin: Origin, cancel_requested: bool) {
        let canceled = CancellationToken::new();
        if cancel_requested {
            canceled.cancel();
        }
        let asked = Arc::new(AtomicBool::new(cancel_requested));
        let running = Running {
            attempt: task.attempt,
            asked: Arc::clone(&asked),
            canceled: canceled.clone(),
            abandoned: CancellationToken::new(),
            claimed: matches!(origin, Origin::Claimed(_)),
        };
        let abandoned = running.abandoned.clone();
        self.lock().insert((task.run, task.activity_id), running);
        let pool = Arc::clone(self);
        let attempt = attempt::Attempt { pool, task: Arc::new(task), origin, asked, canceled, abandoned };
        self.tracker.spawn_on(attempt.run(), &self.handle);
    }

    /// Forgets an attempt that has ended, after its outcome was told.
    fn ended(&self, task: &ActivityTask) {
        let mut running = self.lock();
        if running.get(&(task.run, task.activity_id)).is_some_and(|running| running.attempt == task.attempt) {
            running.remove(&(task.run, task.activity_id));
        }
        drop(running);
        self.freed.notify_one();
        self.clock.rested();
    }

    fn tell_owner(&self, run: RunKey, outcome: ActivityOutcome) {
        if let Some(owners) = self.owners.get() {
            owners.outcome(run, outcome);
        }
    }

    fn tell_owner_lost(&self, task: &ActivityTask) {
        if let Some(owners) = self.owners.get() {
            owners.attempt_lost(task.run, task.activity_id, task.attempt);
        }
    }

    fn tell_owner_never_began(&self, task: &ActivityTask) {
        if let Some(owners) = self.owners.get() {
            owners.attempt_never_began(task.run, task.activity_id, task.attempt);
        }
    }

    fn tell_owner_heartbeat(&self, task: &ActivityTask, details: Option<Payload>) {
        if let Some(owners) = self.owners.get() {
            owners.heartbeat(task.run, task.activity_id, task.attempt, details);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, RunningAttempts> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use dacapo_core::{Payload, Shard, Timestamp, transition::ActivityRow};
    use uuid::Uuid;

    use super::*;

    fn row(run: RunKey, activity_id: ActivityId) -> ActivityRow {
        let task = ActivityTask {
            run,
            namespace: dacapo_core::Namespace::default_namespace(),
            workflow_id: "w".into(),
            workflow_type: "flow".into(),
            activity_id,
            activity_type: "act".into(),
            task_queue: "q".into(),
            input: Payload::null(),
            attempt: 1,
            scheduled_at: Timestamp(1),
            attempt_scheduled_at: Timestamp(1),
            schedule_to_close_at: None,
            schedule_to_start_ms: None,
            start_to_close_ms: None,
            heartbeat_ms: None,
            last_heartbeat: None,
            priority: 3,
            correlation_id: String::new(),
        };
        ActivityRow {
            activity_id,
            attempt: 1,
            visible_at: Timestamp(1),
            claimed_by_owner: true,
            last_failure: None,
            last_heartbeat: None,
            state: Default::default(),
            task: Box::new(task),
        }
    }

    #[test]
    fn an_attempt_that_ran_when_its_run_was_read_is_left_to_its_report() {
        let (run, worker) =
            (RunKey { shard: Shard(0), run_id: dacapo_core::RunId(Uuid::from_u128(1)) }, WorkerId(Uuid::from_u128(2)));
        let activities = vec![(row(run, 1), Some(worker)), (row(run, 2), Some(worker))];
        let mut loaded = LoadedRun {
            key: run,
            owner: Some(worker),
            owner_epoch: 2,
            events: Vec::new(),
            inbox: Vec::new(),
            activities,
        };
        Reporting(HashSet::from([(run, 1)])).leave_out(&mut loaded);
        let claimers: Vec<Option<WorkerId>> = loaded.activities.iter().map(|(_, claimer)| *claimer).collect();
        assert_eq!(claimers, [None, Some(worker)], "the other one ran nowhere: it is lost");
    }
}
