//! This process's estimate of the database's clock.
//!
//! The estimate never runs ahead: the database read its clock before its answer arrived, so "what it said, plus the
//! time since the answer arrived" is at most what its clock shows now. A timer that is due by the estimate is due.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use dacapo_core::Timestamp;

/// Estimates the database's clock.
#[derive(Debug)]
pub(crate) struct Clock(Mutex<(Instant, Timestamp)>);

impl Clock {
    /// Begins with an answer of the database that has just arrived.
    pub(crate) fn new(said: Timestamp) -> Self {
        Self(Mutex::new((Instant::now(), said)))
    }

    /// Takes an answer of the database that has just arrived.
    pub(crate) fn adjust(&self, said: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), said);
    }

    /// Gives the estimate.
    pub(crate) fn now(&self) -> Timestamp {
        let (arrived, said) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.plus(arrived.elapsed())
    }
}
