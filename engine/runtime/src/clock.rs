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

/// Estimates the database's clock.
#[derive(Debug)]
pub(crate) struct Clock(Mutex<Estimate>);

impl Clock {
    /// Begins with an answer of the database that has just arrived.
    pub(crate) fn new(said: Timestamp) -> Self {
        Self(Mutex::new(Estimate { arrived: Instant::now(), said, shown: said }))
    }

    /// Takes an answer of the database that has just arrived.
    pub(crate) fn adjust(&self, said: Timestamp) {
        let mut estimate = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = estimate.now();
        let shown = if said.plus(SET_BACK) < shown { said } else { shown };
        *estimate = Estimate { arrived: Instant::now(), said, shown };
    }

    /// Gives the estimate.
    pub(crate) fn now(&self) -> Timestamp {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).now()
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
