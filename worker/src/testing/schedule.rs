//! What a test has planned: waits of its own, and things to do at a moment.
//!
//! What is asked for is numbered, so that the driver leaves alone what came after its last look at the engine.

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
    looks: BTreeMap<u64, oneshot::Sender<bool>>,
    /// Who wants to be told when it is at rest again after time has moved.
    steps: BTreeMap<u64, oneshot::Sender<bool>>,
    /// The number of what was asked for last.
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
    /// The number of what was asked for last.
    pub(super) fn asked(&self) -> u64 {
        self.lock().number
    }

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
        planned.number += 1;
        let number = planned.number;
        let asked = if step { &mut planned.steps } else { &mut planned.looks };
        asked.insert(number, sender);
        told
    }

    /// Takes note that time has moved.
    pub(super) fn moved(&self) {
        let mut planned = self.lock();
        let steps = std::mem::take(&mut planned.steps);
        planned.looks.extend(steps);
    }

    /// Takes the next thing to do by now, of those up to `asked`.
    pub(super) fn due_action(&self, now: Timestamp, asked: u64) -> Option<Action> {
        let mut planned = self.lock();
        let key = *planned.actions.keys().next().filter(|(at, number)| *at <= now && *number <= asked)?;
        planned.actions.remove(&key)
    }

    /// Wakes the waits up to `asked` that are over; says whether there were any.
    pub(super) fn wake(&self, now: Timestamp, asked: u64) -> bool {
        let mut planned = self.lock();
        let mut woken = false;
        let is_over = |(until, number): &(Timestamp, u64)| *until <= now && *number <= asked;
        while let Some(entry) = planned.sleeps.first_entry().filter(|entry| is_over(entry.key())) {
            // One that was given up wakes nobody.
            woken |= entry.remove().send(()).is_ok();
        }
        woken
    }

    /// Tells those up to `asked` who wanted to know that the engine is at rest; says whether there were any.
    pub(super) fn tell(&self, asked: u64) -> bool {
        let mut planned = self.lock();
        let later = planned.looks.split_off(&(asked + 1));
        let looks = std::mem::replace(&mut planned.looks, later);
        looks.into_values().filter_map(|look| look.send(true).ok()).count() > 0
    }

    /// Tells those who wait for a step that there will be none.
    pub(super) fn give_up(&self) {
        let steps = std::mem::take(&mut self.lock().steps);
        for step in steps.into_values() {
            let _ = step.send(false);
        }
    }

    /// Whether the test waits for a moment, as far as is known up to `asked`.
    pub(super) fn is_sleeping(&self, asked: u64) -> bool {
        let mut planned = self.lock();
        planned.sleeps.retain(|_, sleep| !sleep.is_closed());
        planned.sleeps.keys().any(|(_, number)| *number <= asked)
    }

    /// Whether the test waits for time to move, wherever to, as far as is known up to `asked`.
    pub(super) fn wants_step(&self, asked: u64) -> bool {
        let mut planned = self.lock();
        planned.steps.retain(|_, step| !step.is_closed());
        planned.steps.keys().any(|number| *number <= asked)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_asked_for_later_is_left_alone() {
        let (schedule, now) = (Schedule::default(), Timestamp(0).plus(Duration::from_secs(1)));
        let asked = schedule.asked();
        let (_slept, _looked, _stepped) = (schedule.sleep(now), schedule.look(false), schedule.look(true));
        schedule.act(now, Box::pin(async { Ok(()) }));
        assert!(!schedule.wake(now, asked) && !schedule.tell(asked) && schedule.due_action(now, asked).is_none());
        assert!(!schedule.is_sleeping(asked) && !schedule.wants_step(asked));

        let asked = schedule.asked();
        assert!(schedule.is_sleeping(asked) && schedule.wants_step(asked));
        assert!(schedule.wake(now, asked) && schedule.tell(asked) && schedule.due_action(now, asked).is_some());
        assert!(!schedule.tell(asked), "a wait for a step is told of after it");
        schedule.moved();
        assert!(schedule.tell(asked));
    }
}
