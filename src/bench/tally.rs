//! What completes, and how long it took.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
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
    counting: AtomicBool,
    histograms: Mutex<Histograms>,
}

#[derive(Debug)]
struct Histograms {
    window: Histogram<u64>,
    sample: Histogram<u64>,
}

impl Tally {
    /// Begins; nothing counts for the window yet.
    pub(super) fn new() -> Self {
        let histograms = Mutex::new(Histograms { window: histogram(), sample: histogram() });
        Self { done: AtomicU64::new(0), counting: AtomicBool::new(false), histograms }
    }

    /// Takes a completion.
    pub(super) fn take(&self, latency: Duration) {
        self.done.fetch_add(1, Ordering::Relaxed);
        if self.counting.load(Ordering::Relaxed) {
            let mut histograms = self.lock();
            record(&mut histograms.window, latency);
            record(&mut histograms.sample, latency);
        }
    }

    /// Says whether what completes belongs to the window.
    pub(super) fn count(&self, counting: bool) {
        self.counting.store(counting, Ordering::Relaxed);
    }

    /// How many have completed.
    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// The latencies of the window.
    pub(super) fn window(&self) -> Histogram<u64> {
        self.lock().window.clone()
    }

    /// The latencies since the last call.
    pub(super) fn take_sample(&self) -> Histogram<u64> {
        std::mem::replace(&mut self.lock().sample, histogram())
    }

    fn lock(&self) -> MutexGuard<'_, Histograms> {
        self.histograms.lock().unwrap_or_else(PoisonError::into_inner)
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
        let tally = Tally::new();
        tally.take(Duration::from_secs(9));
        tally.count(true);
        tally.take(Duration::from_millis(2));
        assert_eq!((tally.done(), tally.window().len(), tally.window().max() / 100), (2, 1, 20));
        assert_eq!(tally.take_sample().len(), 1);
        assert_eq!(tally.take_sample().len(), 0);
        tally.take(Duration::from_secs(1_000_000));
        assert_eq!(tally.window().len(), 2, "what is longer than the histogram is kept as its longest");
    }
}
