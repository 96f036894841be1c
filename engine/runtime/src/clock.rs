//! This process's estimate of the database's clock.
//!
//! The estimate never runs ahead: the database read its clock before its answer arrived, so "what it said, plus the
//! time since the answer arrived" is at most what its clock shows now. A timer that is due by the estimate is due.
//!
//! It does not run backwards either: an answer that took longer on its way than the one before says less, and the
//! estimate stands still until it has caught up. Only a database whose clock was set back takes the estimate with it.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use dacapo_core::Timestamp;

use crate::virtual_time::{AttemptKey, VirtualTime};

/// How far back an answer must lie for the database's clock to have been set back; far above what an answer takes.
const SET_BACK: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Estimate {
    arrived: Instant,
    said: Timestamp,
    /// What was shown before the last answer arrived.
    shown: Timestamp,
}

impl Estimate {
    fn now(&self) -> Timestamp {
        self.said.plus(self.arrived.elapsed()).max(self.shown)
    }
}

/// Where the time comes from.
#[derive(Debug)]
enum Source {
    /// The database, estimated.
    Database(Mutex<Estimate>),
    /// A test, which moves it.
    Virtual(VirtualTime),
}

/// Estimates the database's clock, or shows the time of a test.
#[derive(Debug)]
pub(crate) struct Clock(Source);

impl Clock {
    /// Begins with an answer of the database that has just arrived.
    pub(crate) fn new(said: Timestamp) -> Self {
        Self(Source::Database(Mutex::new(Estimate { arrived: Instant::now(), said, shown: said })))
    }

    /// Shows the time of a test.
    pub(crate) fn in_virtual_time(time: VirtualTime) -> Self {
        Self(Source::Virtual(time))
    }

    /// The time of a test, if this clock shows one.
    pub(crate) fn virtual_time(&self) -> Option<&VirtualTime> {
        match &self.0 {
            Source::Database(_) => None,
            Source::Virtual(time) => Some(time),
        }
    }

    /// Takes note that somebody may have come to rest.
    pub(crate) fn rested(&self) {
        if let Source::Virtual(time) = &self.0 {
            time.stir();
        }
    }

    /// Waits until a point in time; without one, for ever.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub(crate) async fn sleep_until(&self, at: Option<Timestamp>) {
        match (at, &self.0) {
            (Some(at), Source::Database(_)) => tokio::time::sleep(at.since(self.now())).await,
            (Some(at), Source::Virtual(time)) => time.sleep_of(None, at).elapsed().await,
            (None, _) => std::future::pending().await,
        }
    }

    /// Waits until a point in time between two attempts, of which the next one is `attempt`.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub(crate) async fn sleep_before(&self, attempt: AttemptKey, at: Timestamp) {
        match &self.0 {
            Source::Database(_) => tokio::time::sleep(at.since(self.now())).await,
            Source::Virtual(time) => time.sleep_of(Some(attempt), at).elapsed().await,
        }
    }

    /// Takes an answer of the database that has just arrived.
    pub(crate) fn adjust(&self, said: Timestamp) {
        let Source::Database(estimate) = &self.0 else { return };
        let mut estimate = estimate.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = estimate.now();
        let shown = if said.plus(SET_BACK) < shown { said } else { shown };
        *estimate = Estimate { arrived: Instant::now(), said, shown };
    }

    /// Gives the estimate.
    pub(crate) fn now(&self) -> Timestamp {
        match &self.0 {
            Source::Database(estimate) => estimate.lock().unwrap_or_else(PoisonError::into_inner).now(),
            Source::Virtual(time) => time.now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_answer_does_not_set_the_clock_back_and_a_clock_set_back_does() {
        let said = Timestamp(0).plus(Duration::from_secs(1_000));
        let clock = Clock::new(said);
        let before = clock.now();
        clock.adjust(Timestamp(0).plus(Duration::from_secs(999)));
        assert!(clock.now() >= before);
        clock.adjust(said.plus(Duration::from_secs(2)));
        assert!(clock.now() >= said.plus(Duration::from_secs(2)));
        clock.adjust(Timestamp(0).plus(Duration::from_secs(900)));
        assert!(clock.now() < said);
    }
}
