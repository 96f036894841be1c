//! The alarms of a workflow thread: timers of its runs that are due soon, and retries of failing workflow tasks.
//!
//! Every timer has a row in `timers` as well; this is only how its owner fires it on time.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use dacapo_core::{RunKey, TimerId, Timestamp};

/// What an alarm is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Alarm {
    Timer(TimerId),
    RetryTask,
}

/// Alarms by time. One that is no longer wanted rings all the same, and means nothing then.
#[derive(Debug, Default)]
pub(super) struct Alarms(BinaryHeap<Reverse<(Timestamp, RunKey, Alarm)>>);

impl Alarms {
    pub(super) fn set(&mut self, at: Timestamp, run: RunKey, alarm: Alarm) {
        self.0.push(Reverse((at, run, alarm)));
    }

    /// Takes the next alarm that is due.
    pub(super) fn due(&mut self, now: Timestamp) -> Option<(RunKey, Alarm)> {
        let Reverse((at, run, alarm)) = *self.0.peek()?;
        if at > now {
            return None;
        }
        self.0.pop();
        Some((run, alarm))
    }

    /// The time until the next alarm.
    pub(super) fn wait(&self, now: Timestamp) -> Option<Duration> {
        self.0.peek().map(|Reverse((at, _, _))| at.since(now))
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
