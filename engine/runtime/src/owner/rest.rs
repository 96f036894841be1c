//! Whether the workflow threads have anything to do: asked by virtual time before it moves on.

use dacapo_core::{MessageId, RunKey, Timestamp};

use super::{
    Owners,
    actor::{Actor, Phase},
    local::Locals,
    thread::Shared,
};

impl Owners {
    /// The steps that the threads have made.
    pub(crate) fn steps(&self) -> u64 {
        self.threads().iter().map(|thread| thread.shared.lock().steps).sum()
    }

    /// Whether no thread has anything to do, and no run waits for something that is under way.
    pub(crate) fn is_at_rest(&self, now: Timestamp) -> bool {
        self.threads().iter().all(|thread| thread.shared.is_at_rest(now))
    }

    /// The requests that wait in inboxes because the code has not taken them on.
    pub(crate) fn waiting_requests(&self) -> Vec<(RunKey, MessageId)> {
        let of = |shared: &Shared| -> Vec<(RunKey, MessageId)> {
            let state = shared.lock();
            let waiting = state.actors.values().filter(|actor| !actor.updates.is_empty());
            waiting.flat_map(|actor| actor.updates.iter().map(|update| (actor.key(), update.id))).collect()
        };
        self.threads().iter().flat_map(|thread| of(&thread.shared)).collect()
    }

    /// The runs of the threads whose workflow task fails.
    pub(crate) fn failing(&self) -> Vec<RunKey> {
        let of = |shared: &Shared| -> Vec<RunKey> {
            let state = shared.lock();
            state.actors.values().filter(|actor| actor.failures > 0).map(|actor| actor.key()).collect()
        };
        self.threads().iter().flat_map(|thread| of(&thread.shared)).collect()
    }

    /// When a run of the threads has something to do that no table knows of: a failing workflow task is tried again.
    pub(crate) fn next_due_at(&self, now: Timestamp) -> Option<Timestamp> {
        let of = |shared: &Shared| {
            let state = shared.lock();
            state.actors.values().filter_map(|actor| actor.retry_at).filter(|at| *at > now).min()
        };
        self.threads().iter().filter_map(|thread| of(&thread.shared)).min()
    }
}

impl Shared {
    fn is_at_rest(&self, now: Timestamp) -> bool {
        let state = self.lock();
        state.running.is_none()
            && state.orphans.is_empty()
            && state.dirty.is_empty()
            && state.to_release.is_empty()
            && self.has_heard_all()
            && state.alarms.wait(now).is_none_or(|wait| !wait.is_zero())
            && state.actors.values().all(|actor| self.actor_is_at_rest(actor, &state.locals, now))
    }

    fn actor_is_at_rest(&self, actor: &Actor, locals: &Locals, now: Timestamp) -> bool {
        let key = actor.key();
        let wakes = (actor.asks_locals || locals.any_ended(key)) && actor.may_wake(now);
        let waits_for_retry = actor.retry_at.is_some_and(|at| at > now);
        // An attempt that has ended leaves the pool before its outcome is taken from the channel.
        let unheard = |id: u64, has_row: bool| !has_row && !self.context.pool.runs(actor.key(), id);
        matches!(actor.phase, Phase::Idle)
            && actor.inputs.is_empty()
            && actor.adoption.is_none()
            && !wakes
            && !locals.any_unheard(key, &self.context.pool)
            && (waits_for_retry || !actor.run.wants_task(now))
            && !actor.run.activities.iter().any(|(id, pending)| unheard(*id, pending.has_row))
    }
}
