//! What follows the answer to a write, a load or a release.

use std::{sync::atomic::Ordering, time::Duration};

use dacapo_core::{
    ActivityId, RunKey, limits,
    store::{LoadedRun, ReleaseOutcome, ReleaseRun, StoreError, WriteOutcome},
    transition::TimerRow,
};

use super::{
    Input, ToOwner,
    actor::{Actor, Adoption, AfterCommit, Phase},
    ready_at,
    thread::{Shared, State, WorkflowThread},
    timers::Alarm,
};

/// The wait before the database is asked again after it could not answer.
const RETRY: Duration = Duration::from_millis(100);

/// The wait before a run is tried again whose write the database refuses for ever.
const REJECTED_RETRY_MS: u64 = 10_000;

impl WorkflowThread {
    /// Takes the answer to a write.
    pub(super) fn written(
        &mut self,
        state: &mut State,
        key: RunKey,
        epoch: i32,
        outcome: WriteOutcome,
        launched: &[ActivityId],
    ) {
        let Some(actor) = state.actors.get_mut(&key).filter(|actor| actor.epoch == epoch) else {
            self.abandon(key, launched);
            return;
        };
        let Phase::Writing(after) = std::mem::replace(&mut actor.phase, Phase::Idle) else { return };
        match outcome {
            WriteOutcome::Applied => {
                let timers = std::mem::take(&mut actor.timers_written);
                self.committed(state, key, &timers, after);
            }
            WriteOutcome::Fenced => {
                tracing::info!(run_id = %key.run_id, "the run is not this process's any more; it is dropped");
                self.forget(state, key);
            }
            WriteOutcome::InboxNotEmpty => {
                give_again(actor, *after);
                self.load(state, key);
            }
            WriteOutcome::Unknown => {
                metrics::counter!("dacapo_unknown_writes_total").increment(1);
                give_again(actor, *after);
                self.resolve(state, key);
            }
            WriteOutcome::Rejected(error) => {
                tracing::error!(run_id = %key.run_id, %error, "the database refuses a step of the run; it is tried again later");
                give_again(actor, *after);
                let at = self.shared.context.clock.now().plus_ms(REJECTED_RETRY_MS);
                actor.failures = actor.failures.max(1);
                actor.retry_at = Some(at);
                state.alarms.set(at, key, Alarm::RetryTask);
                self.load(state, key);
            }
        }
    }

    /// Does what was to happen after the commit.
    pub(super) fn committed(&mut self, state: &mut State, key: RunKey, timers: &[TimerRow], after: Box<AfterCommit>) {
        let context = &self.shared.context;
        let Some(actor) = state.actors.get_mut(&key) else { return };
        if let Some(status) = after.closes {
            metrics::counter!("dacapo_workflow_closes_total", "status" => status.as_str()).increment(1);
            for activity_id in actor.run.activities.keys() {
                context.pool.cancel(key, *activity_id);
            }
            if let Some(result) = &after.result {
                context.waits.closed(key, result);
            }
            state.actors.remove(&key);
            for id in state.locals.forget(key) {
                context.pool.give_up_local(id);
            }
            self.executor.evict(key);
            self.shared.context.one_less();
            if let Some(successor) = after.successor {
                self.own(*successor);
            }
            return;
        }
        actor.phase = Phase::Idle;
        self.settle_locals(state, key, after.locals);
        let Some(actor) = state.actors.get(&key) else { return };
        for task in after.launches {
            context.pool.start_local(task);
        }
        for activity_id in after.cancels {
            context.pool.cancel(key, activity_id);
        }
        for timer in timers {
            state.alarms.set(timer.fire_at, key, Alarm::Timer(timer.timer_id));
        }
        if let Some(at) = after.offered_at {
            context.activity_due.set(at);
        }
        let more = !actor.inputs.is_empty()
            || context.is_draining()
            || (state.locals.any_ended(key) && actor.may_wake(context.clock.now()))
            || (actor.retry_at.is_none() && actor.run.wants_task(context.clock.now()));
        if more {
            state.dirty.push_back(key);
        }
    }

    /// Ends attempts that began for a run which was dropped while the write that scheduled them was under way.
    pub(super) fn abandon(&self, key: RunKey, launched: &[ActivityId]) {
        launched.iter().for_each(|activity_id| self.shared.context.pool.abandon(key, *activity_id));
    }

    /// Takes a run that began with the end of another, on the thread that its id names.
    fn own(&self, successor: LoadedRun) {
        let context = &self.shared.context;
        let run = successor.key;
        if let Some(owners) = context.owners.get() {
            owners.claimed(successor);
            // A message may have come since the commit, for a run that no thread knew yet.
            context.mail.wanted(&[run]);
        }
    }

    /// Takes a run that was claimed and read.
    pub(super) fn claimed(&mut self, state: &mut State, loaded: LoadedRun) {
        let key = loaded.key;
        // An answer may be slow: meanwhile the run was found in another way, and its epoch has risen here.
        if state.actors.get(&key).is_some_and(|actor| actor.epoch >= loaded.owner_epoch) {
            return;
        }
        self.install(state, key, loaded, Adoption::MayHaveBegun, Vec::new());
        if state.strangers.remove(&key) {
            self.shared.context.mail.wanted(&[key]);
        }
    }

    /// Takes a run that was read again.
    pub(super) fn reloaded(&mut self, state: &mut State, key: RunKey, epoch: i32, loaded: Option<LoadedRun>) {
        let (inputs, failures, retry_at) = if let Some(orphan) = state.orphans.remove(&key) {
            (orphan.inputs, orphan.failures, None)
        } else if let Some(actor) =
            state.actors.get_mut(&key).filter(|actor| actor.epoch == epoch && matches!(actor.phase, Phase::Loading))
        {
            (std::mem::take(&mut actor.inputs), actor.failures, actor.retry_at)
        } else {
            return;
        };
        let Some(loaded) = loaded.filter(|loaded| loaded.owner == Some(self.shared.context.worker)) else {
            self.forget(state, key);
            return;
        };
        // What is in the inbox was read with the run; what is not is in its history.
        let inputs = inputs.into_iter().filter(|input| !matches!(input, Input::Message(_))).collect();
        self.install(state, key, loaded, Adoption::NeverBegan, inputs);
        if let Some(actor) = state.actors.get_mut(&key) {
            actor.failures = actor.failures.max(failures);
            actor.retry_at = retry_at;
        }
    }

    fn install(&mut self, state: &mut State, key: RunKey, loaded: LoadedRun, adoption: Adoption, inputs: Vec<Input>) {
        self.executor.evict(key);
        let mut actor = match Actor::loaded(loaded, adoption, self.shared.context.worker) {
            Ok(actor) => Box::new(actor),
            Err(error) => {
                metrics::counter!("dacapo_corrupt_runs_total").increment(1);
                tracing::error!(%error, "the run is stopped; look at it with `dacapo show` and `dacapo db verify`");
                self.forget(state, key);
                return;
            }
        };
        actor.inputs.splice(0..0, inputs);
        for (timer_id, timer) in &actor.run.timers {
            state.alarms.set(timer.fire_at, key, Alarm::Timer(*timer_id));
        }
        let first_task_at = actor.run.first_task_at();
        if first_task_at > self.shared.context.clock.now() {
            state.alarms.set(first_task_at, key, Alarm::RetryTask);
        }
        if state.actors.insert(key, actor).is_none() {
            self.shared.context.owned.fetch_add(1, Ordering::Relaxed);
        }
        state.dirty.push_back(key);
    }

    /// Reads a run again.
    pub(super) fn load(&mut self, state: &mut State, key: RunKey) {
        let Some(actor) = state.actors.get_mut(&key) else { return };
        actor.phase = Phase::Loading;
        load_from_store(&self.shared, key, actor.epoch, false);
    }

    /// Finds out what became of a write whose answer was lost, and reads the run again.
    fn resolve(&mut self, state: &mut State, key: RunKey) {
        let Some(actor) = state.actors.get_mut(&key) else { return };
        actor.phase = Phase::Loading;
        load_from_store(&self.shared, key, actor.epoch, true);
    }

    /// Gives back the runs that were gathered for it.
    pub(super) fn release_gathered(&self, state: &mut State) {
        if state.to_release.is_empty() {
            return;
        }
        let now = self.shared.context.clock.now();
        let mut keys = std::mem::take(&mut state.to_release);
        keys.sort_unstable();
        keys.dedup();
        for batch in keys.chunks(limits::CLAIM_RUNS_MAX) {
            let mut runs = Vec::with_capacity(batch.len());
            for key in batch {
                // It may have made a step since it was gathered, and begun an activity: nobody would know of that one.
                let runs_locals = state.locals.any(*key) && !self.shared.context.is_draining();
                let may_go = |actor: &Actor| actor.is_idle() && !runs_locals && !self.runs_activities(actor);
                let may_go = state.actors.get(key).is_some_and(|actor| may_go(actor));
                let Some(actor) = state.actors.get_mut(key).filter(|_| may_go) else { continue };
                actor.phase = Phase::Releasing;
                if let Some(at) = actor.run.timers.values().map(|timer| timer.fire_at).min() {
                    self.shared.context.timer_due.set(at);
                }
                runs.push(ReleaseRun {
                    key: *key,
                    owner_epoch: actor.epoch,
                    next_event_id: actor.run.next_event_id,
                    ready_at: ready_at(&actor.run, now),
                });
            }
            self.release(runs);
        }
    }

    fn release(&self, runs: Vec<ReleaseRun>) {
        if runs.is_empty() {
            return;
        }
        let context = std::sync::Arc::clone(&self.shared.context);
        let sender = self.shared.sender.clone();
        let task = async move {
            let epochs: Vec<(RunKey, i32)> = runs.iter().map(|run| (run.key, run.owner_epoch)).collect();
            let outcomes = context.store.release(context.worker, runs).await;
            if let Err(error) = &outcomes {
                tracing::warn!(%error, "runs could not be given back; they are kept");
            }
            let outcomes = outcomes.unwrap_or_default();
            for (key, epoch) in epochs {
                // A run without an answer is kept: if it was released after all, its next write is fenced.
                let outcome = outcomes.iter().find(|(run, _)| *run == key);
                let outcome = outcome.map_or(ReleaseOutcome::InboxNotEmpty, |(_, outcome)| *outcome);
                let _ = sender.send(ToOwner::Released { key, epoch, outcome });
            }
        };
        self.shared.context.tracker.spawn_on(task, &self.shared.context.handle);
    }

    /// Takes the answer to a release.
    pub(super) fn released(&mut self, state: &mut State, key: RunKey, epoch: i32, outcome: ReleaseOutcome) {
        let releasing =
            state.actors.get_mut(&key).filter(|actor| actor.epoch == epoch && matches!(actor.phase, Phase::Releasing));
        let Some(actor) = releasing else { return };
        match outcome {
            ReleaseOutcome::Released | ReleaseOutcome::Fenced => self.forget(state, key),
            ReleaseOutcome::InboxNotEmpty => {
                actor.phase = Phase::Idle;
                self.load(state, key);
            }
            ReleaseOutcome::Busy => {
                actor.phase = Phase::Idle;
                state.dirty.push_back(key);
            }
        }
    }

    /// Drops a run that is not this process's any more.
    pub(super) fn forget(&mut self, state: &mut State, key: RunKey) {
        self.executor.evict(key);
        for id in state.locals.forget(key) {
            self.shared.context.pool.abandon_local(id);
        }
        let Some(actor) = state.actors.remove(&key) else { return };
        for activity_id in actor.run.activities.keys() {
            if self.shared.context.pool.local_attempt(key, *activity_id).is_some() {
                self.shared.context.pool.abandon(key, *activity_id);
            }
        }
        self.shared.context.one_less();
    }
}

/// Keeps the inputs of a step that was not written, before those that came since.
fn give_again(actor: &mut Actor, after: AfterCommit) {
    actor.inputs.splice(0..0, after.inputs);
}

/// Reads a run on the side and tells its thread; with `fence`, after a fencing write.
pub(super) fn load_from_store(shared: &Shared, key: RunKey, epoch: i32, fence: bool) {
    let context = std::sync::Arc::clone(&shared.context);
    let sender = shared.sender.clone();
    let tracker = context.tracker.clone();
    let handle = context.handle.clone();
    let task = async move {
        let (mut fenced, mut in_doubt) = (!fence, false);
        loop {
            let loaded = async {
                if !fenced && context.store.fence(context.worker, key, epoch).await?.is_none() {
                    // A fence before this one may have gone through without an answer: then the run is still this
                    // process's, under an epoch that nobody here knows.
                    if in_doubt {
                        context.claim_lost.store(true, Ordering::Relaxed);
                    }
                    return Ok(None);
                }
                fenced = true;
                Ok::<_, StoreError>(context.load_runs(&[key]).await?.pop())
            };
            match loaded.await {
                Ok(loaded) => {
                    let _ = sender.send(ToOwner::Loaded { key, epoch, loaded: loaded.map(Box::new) });
                    return;
                }
                Err(StoreError::Unavailable { problem }) => {
                    in_doubt = true;
                    tracing::debug!(problem, run_id = %key.run_id, "a run cannot be read yet");
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => {
                    tracing::error!(%error, run_id = %key.run_id, "a run cannot be read; it is dropped");
                    let _ = sender.send(ToOwner::Loaded { key, epoch, loaded: None });
                    return;
                }
            }
            if context.tracker.is_closed() {
                return;
            }
        }
    };
    tracker.spawn_on(task, &handle);
}
