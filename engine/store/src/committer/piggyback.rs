//! Notifications that go along with a flush.
//!
//! A notification of its own costs whoever waits for it a round trip. One that goes along costs the database's lock of the
//! notification queue, held over the commit: transactions that notify commit one after the other, each with a wait for the
//! disk of its own. So only lone flushes take one along, and only while they take less than half of the time; where many
//! processes do the same, the wait for the lock shows in their time, and they stop by themselves.

use std::{
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How far flushes with a notification may run ahead of their share of the time.
const AHEAD_MAX: Duration = Duration::from_millis(20);

/// The time without notifications after a flush was refused.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// Decides which flushes of a lane take their notification along.
#[derive(Debug)]
pub(crate) struct Piggyback {
    /// When all flushes so far are paid for: each costs twice the time it took.
    paid: Mutex<Instant>,
}

impl Piggyback {
    pub(crate) fn new() -> Self {
        Self { paid: Mutex::new(Instant::now()) }
    }

    /// Carries out a flush that takes its notification along, if it may now. `None`: it may not, or the database refused;
    /// the flush is to be carried out without.
    ///
    /// The database refuses every notification when its queue is full, because somebody who listens does not read.
    pub(crate) async fn carry<T>(
        &self,
        flush: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<Option<T>, sqlx::Error> {
        let begun = Instant::now();
        if !self.may(begun) {
            return Ok(None);
        }
        match flush.await {
            Ok(done) => {
                self.took(begun, Instant::now());
                Ok(Some(done))
            }
            // Class 57 is the server's own end, which may have come after the commit: the outcome is unknown.
            Err(sqlx::Error::Database(error)) if !error.code().is_some_and(|code| code.starts_with("57")) => {
                tracing::debug!(%error, "a flush with a notification was refused; it is tried without");
                *self.lock() = begun + REFUSED_PAUSE;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn may(&self, now: Instant) -> bool {
        *self.lock() <= now + AHEAD_MAX
    }

    fn took(&self, begun: Instant, ended: Instant) {
        let mut paid = self.lock();
        *paid = (*paid).max(begun) + 2 * ended.saturating_duration_since(begun);
    }

    fn lock(&self) -> MutexGuard<'_, Instant> {
        self.paid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(begin: Instant, ms: u64) -> Instant {
        begin + Duration::from_millis(ms)
    }

    #[test]
    fn flushes_that_take_less_than_half_of_the_time_always_may() {
        let (piggyback, begin) = (Piggyback::new(), Instant::now());
        for flush in 0..1_000 {
            assert!(piggyback.may(at(begin, flush * 20)));
            piggyback.took(at(begin, flush * 20), at(begin, flush * 20 + 9));
        }
    }

    #[test]
    fn flushes_one_after_the_other_may_for_half_of_the_time() {
        let (piggyback, begin) = (Piggyback::new(), Instant::now());
        let with = (0..1_000).filter(|flush| {
            let may = piggyback.may(at(begin, flush * 2));
            if may {
                piggyback.took(at(begin, flush * 2), at(begin, flush * 2 + 2));
            }
            may
        });
        let with = with.count();
        assert!((500..520).contains(&with), "{with}");
    }
}
