//! Timers: the first firing counts, whoever brings it; a timer that was given up never fires.

use super::Turn;
use crate::{
    event::{EventKind, TimerFired, WorkflowExecutionTimedOut},
    ids::{RUN_TIMEOUT_TIMER, TimerId},
};

impl Turn<'_> {
    /// Takes the news that a timer's time has come. A timer that is not pending, or not due by the time of this step,
    /// is left as it is.
    pub fn timer_due(&mut self, timer_id: TimerId) {
        let Some(timer) = self.run.timers.get(&timer_id).copied().filter(|timer| timer.fire_at <= self.now) else {
            return;
        };
        if self.out.closes.is_some() {
            return;
        }
        if timer_id == RUN_TIMEOUT_TIMER {
            let timeout_ms = timer.fire_at.since(self.run.started_at).as_millis() as u64;
            self.close(EventKind::WorkflowExecutionTimedOut(WorkflowExecutionTimedOut { timeout_ms }));
            return;
        }
        self.push(EventKind::TimerFired(TimerFired { timer_id, started_event_id: timer.started_event_id }));
        self.out.dropped_timers.push(timer_id);
    }
}
