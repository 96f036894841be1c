//! What a test has planned: waits of its own, and things to do at a moment.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use dacapo_core::{RunKey, Timestamp};
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

/// Something that is done at a moment; what it says went wrong.
pub(super) type Action = BoxFuture<'static, Result<(), String>>;

/// What is planned, by time and then in the order of planning.
#[derive(Default)]
pub(super) struct Schedule(Mutex<Planned>);

#[derive(Default)]
struct Planned {
    actions: BTreeMap<(Timestamp, u64), Action>,
    sleeps: BTreeMap<(Timestamp, u64), oneshot::Sender<()>>,
    /// Who wants to be told when the engine is at rest.
    looks: Vec<oneshot::Sender<bool>>,
    /// Who wants to be told when it is at rest again after time has moved.
    steps: Vec<oneshot::Sender<bool>>,
    number: u64,
    problems: Vec<String>,
    /// The runs of which the test was told that their workflow task fails.
    told: HashSet<RunKey>,
}

impl std::fmt::Debug for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Schedule").finish_non_exhaustive()
    }
}

impl Schedule {
    /// Plans something for a moment.
    pub(super) fn act(&self, at: Timestamp, action: Action) {
        let mut planned = self.lock();
        planned.number += 1;
        let key = (at, planned.number);
        planned.actions.insert(key, action);
    }

    /// Plans the end of a wait of the test.
    pub(super) fn sleep(&self, until: Timestamp) -> oneshot::Receiver<()> {
        let (sender, woken) = oneshot::channel();
        let mut planned = self.lock();
        planned.number += 1;
        let key = (until, planned.number);
        planned.sleeps.insert(key, sender);
        woken
    }

    /// Asks to be told when the engine is at rest; with `step`, once time has moved: `true`, or `false` when time has
    /// nothing to move to.
    pub(super) fn look(&self, step: bool) -> oneshot::Receiver<bool> {
        let (sender, told) = oneshot::channel();
        let mut planned = self.lock();
        if step {
            planned.steps.push(sender)
        } else {
            planned.looks.push(sender)
        }
        told
    }

    /// Takes note that time has moved.
    pub(super) fn moved(&self) {
        let mut planned = self.lock();
        let steps = std::mem::take(&mut planned.steps);
        planned.looks.extend(steps);
    }

    /// Takes the next thing to do by now.
    pub(super) fn due_action(&self, now: Timestamp) -> Option<Action> {
        let mut planned = self.lock();
        let key = *planned.actions.keys().next().filter(|(at, _)| *at <= now)?;
        planned.actions.remove(&key)
    }

    /// Wakes the waits that are over; says whether there were any.
    pub(super) fn wake(&self, now: Timestamp) -> bool {
        let mut planned = self.lock();
        let mut woken = false;
        while let Some(entry) = planned.sleeps.first_entry().filter(|entry| entry.key().0 <= now) {
            // One that was given up wakes nobody.
            woken |= entry.remove().send(()).is_ok();
        }
        woken
    }

    /// Tells those who asked that the engine is at rest; says whether there were any.
    pub(super) fn tell(&self) -> bool {
        let looks = std::mem::take(&mut self.lock().looks);
        looks.into_iter().filter_map(|look| look.send(true).ok()).count() > 0
    }

    /// Tells those who wait for a step that there will be none.
    pub(super) fn give_up(&self) {
        let steps = std::mem::take(&mut self.lock().steps);
        for step in steps {
            let _ = step.send(false);
        }
    }

    /// Whether the test waits for a moment.
    pub(super) fn is_sleeping(&self) -> bool {
        let mut planned = self.lock();
        planned.sleeps.retain(|_, sleep| !sleep.is_closed());
        !planned.sleeps.is_empty()
    }

    /// Whether the test waits for time to move, wherever to.
    pub(super) fn wants_step(&self) -> bool {
        let mut planned = self.lock();
        planned.steps.retain(|step| !step.is_closed());
        !planned.steps.is_empty()
    }

    /// When the next thing is planned.
    pub(super) fn next_at(&self) -> Option<Timestamp> {
        let planned = self.lock();
        let actions = planned.actions.keys().map(|(at, _)| *at);
        actions.chain(planned.sleeps.keys().map(|(at, _)| *at)).min()
    }

    /// Takes note of something that went wrong, which fails the test at its end.
    pub(super) fn note(&self, problem: String) {
        self.lock().problems.push(problem);
    }

    /// Takes note that the test was told that the workflow task of a run fails.
    pub(super) fn told(&self, run: RunKey) {
        self.lock().told.insert(run);
    }

    /// Whether the test was told that the workflow task of a run fails.
    pub(super) fn was_told(&self, run: RunKey) -> bool {
        self.lock().told.contains(&run)
    }

    /// Takes what went wrong.
    pub(super) fn take_problems(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().problems)
    }

    fn lock(&self) -> MutexGuard<'_, Planned> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
