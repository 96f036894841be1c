//! Timers: the first firing counts, whoever brings it; a timer that was given up never fires.

use super::{Ending, Turn};
use crate::{
    event::{EventKind, TimerCanceled, TimerFired},
    ids::{RUN_TIMEOUT_TIMER, TimerId},
    run::PendingTimer,
};

impl Turn<'_> {
    /// Takes the owner's own news that a timer's time has come. A timer that is not pending, or not due by the time of
    /// this step, is left as it is.
    pub fn timer_due(&mut self, timer_id: TimerId) {
        let timer = self.run.timers.get(&timer_id).copied();
        if let Some(timer) = timer.filter(|timer| timer.fire_at <= self.now) {
            self.fire(timer_id, timer);
        }
    }

    /// Takes the store's news that a timer's time has come. Its row is gone with the message, so it fires now even where
    /// this process's estimate is a little behind the database's clock; the step moves to the time that has passed there.
    pub(super) fn timer_reported_due(&mut self, timer_id: TimerId) {
        let Some(timer) = self.run.timers.get(&timer_id).copied() else { return };
        self.now = self.now.max(timer.fire_at);
        self.fire(timer_id, timer);
    }

    fn fire(&mut self, timer_id: TimerId, timer: PendingTimer) {
        if !self.is_open() {
            return;
        }
        if timer_id == RUN_TIMEOUT_TIMER {
            self.end_with_step(Ending::TimedOut);
            return;
        }
        self.push(EventKind::TimerFired(TimerFired { timer_id, started_event_id: timer.started_event_id }));
        self.drop_timer(timer_id);
    }

    /// Gives a timer up. One that has fired already, unseen by the code, makes no event.
    pub(super) fn cancel_timer(&mut self, timer_id: TimerId) {
        let Some(timer) = self.run.timers.get(&timer_id).copied() else { return };
        let canceled = TimerCanceled { timer_id, started_event_id: timer.started_event_id };
        self.push(EventKind::TimerCanceled(canceled));
        self.drop_timer(timer_id);
    }

    /// Removes the row of a timer that has ended, or never writes it.
    fn drop_timer(&mut self, timer_id: TimerId) {
        let unwritten = self.out.timers.iter().position(|row| row.timer_id == timer_id);
        match unwritten {
            Some(index) => drop(self.out.timers.remove(index)),
            None => self.out.dropped_timers.push(timer_id),
        }
    }
}
