//! What a worker process does beside running code: renewing its lease, claiming, taking over, moving timers, sweeping.
//! Each role is one loop; hints and alarms wake it, the tables are the truth.

pub(crate) mod claim;
pub(crate) mod handed;
pub(crate) mod inbox;
pub(crate) mod keeper;
pub(crate) mod outbox;
pub(crate) mod questions;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use dacapo_core::{TaskQueue, Timestamp};
use tokio::sync::Notify;

use crate::clock::Clock;

/// What is known of the other processes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peers(Arc<Mutex<HashSet<TaskQueue>>>);

impl Peers {
    /// Whether another live process runs activities of a queue.
    pub(crate) fn serve_activities(&self, queue: &TaskQueue) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(queue)
    }

    /// Takes what the fleet looks like now.
    pub(crate) fn learn(&self, queues: HashSet<TaskQueue>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = queues;
    }
}

/// Rings once at the earliest of the times it was set to, or at once when somebody rings it.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    at: Mutex<Option<Timestamp>>,
    changed: Notify,
}

impl Alarm {
    /// Rings at `at`, unless it rings before.
    pub(crate) fn set(&self, at: Timestamp) {
        let mut earliest = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        if earliest.is_none_or(|earliest| at < earliest) {
            *earliest = Some(at);
            self.changed.notify_one();
        }
    }

    /// Rings now.
    pub(crate) fn ring(&self) {
        self.set(Timestamp(0));
    }

    /// Waits until it rings.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn rung(&self, clock: &Clock) {
        loop {
            let at = *self.at.lock().unwrap_or_else(PoisonError::into_inner);
            let now = clock.now();
            match at {
                Some(at) if at <= now => {
                    *self.at.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    return;
                }
                Some(at) => {
                    tokio::select! {
                        () = clock.sleep_until(Some(at)) => {}
                        () = self.changed.notified() => {}
                    }
                }
                None => self.changed.notified().await,
            }
        }
    }
}
