//! The pause after a small flush that took long.
//!
//! A flush costs the database much whatever is in it, and takes long when the cores have other things to do. To send the
//! next one at once then makes many small flushes, which is what keeps the cores from what they have to do. Waiting for as
//! long as it was held up makes half as many, and hardly anybody waits longer for it: there is less to wait behind.

use std::time::Duration;

/// A flush of so many items is worth its price.
pub(super) const LARGE: usize = 32;

/// The shortest pause; tokio's timer knows no shorter one.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(10);

/// By what part of the difference the time that a flush takes unhindered is raised when one takes longer.
const FORGETS: u32 = 1024;

/// Decides on the pauses of a lane.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// What a small flush takes when nothing holds it up: the shortest lately. It is the network's and the disk's, so no
    /// pause follows from a database that is far away.
    unhindered: Option<Duration>,
}

impl Pace {
    /// The pause after a flush, if there is to be one.
    pub(super) fn pause(&mut self, items: usize, took: Duration) -> Option<Duration> {
        if items >= LARGE {
            return None;
        }
        let unhindered = self.unhindered.unwrap_or(took);
        let held_up = took.saturating_sub(unhindered);
        self.unhindered = Some(took.min(unhindered + held_up / FORGETS));
        (held_up >= PAUSE_MIN).then(|| held_up.min(PAUSE_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_small_flush_that_was_held_up_is_followed_by_a_pause_of_that_time() {
        let mut pace = Pace::default();
        assert_eq!(pace.pause(1, ms(1)), None);
        assert_eq!(pace.pause(31, ms(5)).map(|pause| pause.as_millis()), Some(4));
        assert_eq!(pace.pause(LARGE, ms(5)), None, "it is worth its price");
        assert_eq!(pace.pause(1, ms(100)), Some(PAUSE_MAX));
        assert_eq!(pace.pause(1, Duration::from_micros(1_500)), None, "no timer is that exact");
    }

    #[test]
    fn a_database_that_is_far_away_is_no_reason_for_pauses() {
        let mut pace = Pace::default();
        assert_eq!(pace.pause(1, ms(1)), None);
        // It moves away, and there are two minutes of pauses until that is taken for its distance.
        let paused = (0..10_000).take_while(|_| pace.pause(1, ms(30)).is_some()).count();
        assert!((1_000..5_000).contains(&paused), "{paused}");
        assert!((0..10_000).all(|_| pace.pause(1, ms(30)).is_none()));
    }
}
