//! Signs of life of a running attempt: the timeouts they hold off, and what of them is recorded.

use std::time::Duration;

use dacapo_core::{Payload, TimeoutType, Timestamp, limits, store::ActivityHeartbeat};
use tokio::sync::watch;

use super::{Origin, attempt::Attempt};
use crate::executor::Heartbeat;

/// Watches one attempt.
pub(super) struct Heartbeats<'a> {
    attempt: &'a Attempt,
    started_at: Timestamp,
    heard_at: Timestamp,
    heard: watch::Receiver<Heartbeat>,
    recorded: u64,
    record_at: Timestamp,
    said_all: bool,
}

impl<'a> Heartbeats<'a> {
    pub(super) fn new(attempt: &'a Attempt, started_at: Timestamp, heard: watch::Receiver<Heartbeat>) -> Self {
        Self { attempt, started_at, heard_at: started_at, heard, recorded: 0, record_at: started_at, said_all: false }
    }

    /// What the last sign of life said.
    pub(super) fn latest(&self) -> Option<Payload> {
        self.heard.borrow().details.clone().or_else(|| self.attempt.task.last_heartbeat.clone())
    }

    /// Records signs of life until a timeout passes; `None`: the attempt is not this process's any more.
    pub(super) async fn watch(&mut self) -> Option<TimeoutType> {
        loop {
            let now = self.attempt.pool.clock.now();
            let deadline = self.attempt.task.running_deadline(self.started_at, self.heard_at);
            if let Some((at, timeout)) = deadline
                && at <= now
            {
                return Some(timeout);
            }
            let unrecorded = self.heard.borrow().count > self.recorded;
            if unrecorded && self.record_at <= now {
                if !self.record(now).await {
                    return None;
                }
                continue;
            }
            let next = [deadline.map(|(at, _)| at), unrecorded.then_some(self.record_at)].into_iter().flatten().min();
            tokio::select! {
                changed = self.heard.changed(), if !self.said_all => match changed {
                    Ok(()) => self.heard_at = self.attempt.pool.clock.now(),
                    Err(_) => self.said_all = true,
                },
                () = self.attempt.pool.clock.sleep_until(next) => {}
            }
        }
    }

    /// Records the latest sign of life; says whether the attempt is still this process's.
    async fn record(&mut self, now: Timestamp) -> bool {
        let (count, details) = {
            let heartbeat = self.heard.borrow_and_update();
            (heartbeat.count, heartbeat.details.clone())
        };
        self.recorded = count;
        self.record_at = now.plus(interval(self.attempt.task.heartbeat_ms));
        let pool = &self.attempt.pool;
        let Origin::Claimed(claim) = self.attempt.origin else {
            pool.tell_owner_heartbeat(&self.attempt.task, details);
            return true;
        };
        match pool.store.heartbeat(pool.worker, vec![ActivityHeartbeat { claim, details }]).await {
            Ok(answers) => match answers.first() {
                Some(answer) => {
                    if answer.cancel_requested {
                        self.attempt.asked.store(true, std::sync::atomic::Ordering::Relaxed);
                        self.attempt.canceled.cancel();
                    }
                    true
                }
                None => false,
            },
            Err(error) => {
                tracing::warn!(%error, "a heartbeat could not be recorded");
                true
            }
        }
    }
}

/// The time between two recorded signs of life.
fn interval(heartbeat_ms: Option<u64>) -> Duration {
    heartbeat_ms.map_or(limits::HEARTBEAT_INTERVAL_MAX, |ms| {
        Duration::from_millis(ms * limits::HEARTBEAT_THROTTLE_PERCENT / 100).min(limits::HEARTBEAT_INTERVAL_MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_life_are_recorded_at_most_every_eight_tenths_of_their_timeout() {
        assert_eq!(interval(Some(10_000)), Duration::from_secs(8));
        assert_eq!(interval(Some(3_600_000)), limits::HEARTBEAT_INTERVAL_MAX, "so that cancellation comes in time");
        assert_eq!(interval(None), limits::HEARTBEAT_INTERVAL_MAX);
    }
}
