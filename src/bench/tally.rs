//! What completes, and how long it took.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

/// The longest latency that the histogram tells from a longer one, in microseconds: an hour.
const LATENCY_MAX_US: u64 = 3_600_000_000;

/// Digits of a latency that are kept; a histogram of that range then has some 200 KB.
const DIGITS: u8 = 3;

/// Counts and times workflows, from many tasks at once.
#[derive(Debug)]
pub(super) struct Tally {
    done: AtomicU64,
    timed: Mutex<Timed>,
}

#[derive(Debug)]
struct Timed {
    /// When the window begins and, where it has one, its end.
    window: Option<(Instant, Option<Instant>)>,
    latencies: Histogram<u64>,
    sample: Histogram<u64>,
}

impl Tally {
    /// Begins; nothing counts for the window yet.
    pub(super) fn new() -> Self {
        let timed = Mutex::new(Timed { window: None, latencies: histogram(), sample: histogram() });
        Self { done: AtomicU64::new(0), timed }
    }

    /// Begins with a window that is open from now on.
    pub(super) fn counting() -> Self {
        let tally = Self::new();
        tally.open(None);
        tally
    }

    /// Takes a completion; its latency belongs to the window if `at` does.
    pub(super) fn take(&self, at: Instant, latency: Duration) {
        self.done.fetch_add(1, Ordering::Relaxed);
        let mut timed = self.lock();
        if timed.window.is_some_and(|(from, to)| at >= from && to.is_none_or(|to| at < to)) {
            record(&mut timed.latencies, latency);
            record(&mut timed.sample, latency);
        }
    }

    /// Opens the window now, for so long.
    pub(super) fn open(&self, length: Option<Duration>) {
        let now = Instant::now();
        self.lock().window = Some((now, length.map(|length| now + length)));
    }

    /// Ends the window now.
    pub(super) fn close(&self) {
        if let Some((_, to)) = &mut self.lock().window {
            *to = Some(Instant::now());
        }
    }

    /// Whether the window ended before an instant.
    pub(super) fn ended_before(&self, at: Instant) -> bool {
        self.lock().window.and_then(|(_, to)| to).is_some_and(|to| at >= to)
    }

    /// How many have completed.
    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// The latencies of the window.
    pub(super) fn window(&self) -> Histogram<u64> {
        self.lock().latencies.clone()
    }

    /// The latencies since the last call.
    pub(super) fn take_sample(&self) -> Histogram<u64> {
        std::mem::replace(&mut self.lock().sample, histogram())
    }

    fn lock(&self) -> MutexGuard<'_, Timed> {
        self.timed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a histogram of latencies in microseconds.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_US, DIGITS).expect("the bounds are constants that fit")
}

/// Records a latency.
pub(super) fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    histogram.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_window_is_timed_and_a_sample_begins_anew() {
        let (tally, length) = (Tally::new(), Duration::from_secs(60));
        tally.take(Instant::now(), Duration::from_secs(9));
        tally.open(Some(length));
        let within = Instant::now();
        tally.take(within, Duration::from_millis(2));
        assert_eq!((tally.done(), tally.window().len(), tally.window().max() / 100), (2, 1, 20));
        assert_eq!(tally.take_sample().len(), 1);
        assert_eq!(tally.take_sample().len(), 0);
        tally.take(within, Duration::from_secs(1_000_000));
        assert_eq!(tally.window().len(), 2, "what is longer than the histogram is kept as its longest");
        tally.take(within + length, Duration::from_millis(2));
        assert_eq!((tally.done(), tally.window().len()), (4, 2), "what belongs behind the window is only counted");
        assert!(tally.ended_before(within + length) && !tally.ended_before(within));
    }
}
