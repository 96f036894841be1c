//! Name and options of an activity as a constant, and whether they include a timeout as a type.

use std::time::Duration;

use dacapo_core::{ActivityOptions, RetryPolicy};

/// Name and options of an activity, where nothing is said at the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meta {
    /// The activity type under which it is stored.
    pub name: &'static str,
    /// The longest time of one attempt.
    pub start_to_close: Option<Duration>,
    /// The longest time of all attempts together.
    pub schedule_to_close: Option<Duration>,
    /// The longest time that an attempt waits for a worker.
    pub schedule_to_start: Option<Duration>,
    /// The longest time between two heartbeats.
    pub heartbeat: Option<Duration>,
    /// The attempts allowed in all; 0 is unlimited.
    pub max_attempts: Option<u32>,
    /// The wait before the second attempt.
    pub initial_interval: Option<Duration>,
    /// The longest wait between two attempts.
    pub max_interval: Option<Duration>,
    /// The factor from one wait to the next, in percent.
    pub backoff_percent: Option<u32>,
    /// Error types that are never retried.
    pub non_retryable: &'static [&'static str],
    /// Whether its attempts commit their end together with writes of their own.
    pub transactional: bool,
}

/// Defines the `const` setters of `Meta`.
macro_rules! setters {
    ($($(#[$doc:meta])* $field:ident: $type:ty,)*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub const fn $field(mut self, $field: $type) -> Self {
                self.$field = Some($field);
                self
            }
        )*
    };
}

impl Meta {
    /// Makes the options of an activity type that has none.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            start_to_close: None,
            schedule_to_close: None,
            schedule_to_start: None,
            heartbeat: None,
            max_attempts: None,
            initial_interval: None,
            max_interval: None,
            backoff_percent: None,
            non_retryable: &[],
            transactional: false,
        }
    }

    setters! {
        /// Sets the longest time of one attempt.
        start_to_close: Duration,
        /// Sets the longest time of all attempts together.
        schedule_to_close: Duration,
        /// Sets the longest time that an attempt waits for a worker.
        schedule_to_start: Duration,
        /// Sets the longest time between two heartbeats.
        heartbeat: Duration,
        /// Sets the attempts allowed in all; 0 is unlimited.
        max_attempts: u32,
        /// Sets the wait before the second attempt.
        initial_interval: Duration,
        /// Sets the longest wait between two attempts.
        max_interval: Duration,
        /// Sets the factor from one wait to the next, in percent.
        backoff_percent: u32,
    }

    /// Sets the error types that are never retried.
    #[must_use]
    pub const fn non_retryable(mut self, error_types: &'static [&'static str]) -> Self {
        self.non_retryable = error_types;
        self
    }

    /// Lets attempts commit their end together with writes of their own.
    #[must_use]
    pub const fn transactional(mut self) -> Self {
        self.transactional = true;
        self
    }

    /// Gives the options of a call that sets none: the defaults, changed by what is set here.
    pub fn options(&self) -> ActivityOptions {
        ActivityOptions {
            schedule_to_close_ms: self.schedule_to_close.map(millis),
            schedule_to_start_ms: self.schedule_to_start.map(millis),
            start_to_close_ms: self.start_to_close.map(millis),
            heartbeat_ms: self.heartbeat.map(millis),
            retry_policy: self.retry_policy(),
            ..ActivityOptions::default()
        }
    }

    fn retry_policy(&self) -> RetryPolicy {
        let mut policy = RetryPolicy::default();
        if let Some(attempts) = self.max_attempts {
            policy.maximum_attempts = attempts;
        }
        if let Some(interval) = self.initial_interval {
            policy = policy.initial_interval(interval);
        }
        if let Some(interval) = self.max_interval {
            policy = policy.maximum_interval(interval);
        }
        if let Some(percent) = self.backoff_percent {
            policy.backoff_percent = percent;
        }
        policy.non_retryable_error_types = self.non_retryable.iter().map(|&error_type| error_type.to_owned()).collect();
        policy
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whether an activity has a timeout that ends it, as a type: [`HasTimeout`] or [`NoTimeout`].
pub trait TimeoutState: 'static {}

/// One of start-to-close and schedule-to-close is set.
#[derive(Clone, Copy, Debug)]
pub enum HasTimeout {}

/// Neither start-to-close nor schedule-to-close is set.
#[derive(Clone, Copy, Debug)]
pub enum NoTimeout {}

impl TimeoutState for HasTimeout {}
impl TimeoutState for NoTimeout {}

/// A call that may be made, because a timeout ends it.
#[diagnostic::on_unimplemented(
    message = "this activity call has no timeout: a lost attempt would never end",
    label = "neither start-to-close nor schedule-to-close is set",
    note = "set one for all calls with `#[activity(start_to_close = \"30s\")]`, or for this one with `.start_to_close(Duration::from_secs(30))`"
)]
pub trait TimeoutSet: TimeoutState {}

impl TimeoutSet for HasTimeout {}

#[cfg(test)]
mod tests {
    use dacapo_core::activity::MIDDLE_PRIORITY;

    use super::*;

    #[test]
    fn what_is_not_set_is_as_the_default_policy_says() {
        assert_eq!(Meta::new("charge").retry_policy(), RetryPolicy::default());
        let meta = Meta::new("charge").max_attempts(5).backoff_percent(150).non_retryable(&["CardDeclined"]);
        let expected = RetryPolicy::attempts(5).backoff_coefficient(1.5).non_retryable("CardDeclined");
        assert_eq!(meta.retry_policy(), expected);
    }

    #[test]
    fn timeouts_reach_the_options() {
        let meta = Meta::new("charge").start_to_close(Duration::from_secs(30)).heartbeat(Duration::from_secs(5));
        let options = meta.options();
        assert_eq!((options.start_to_close_ms, options.heartbeat_ms), (Some(30_000), Some(5_000)));
        assert_eq!((options.schedule_to_close_ms, options.schedule_to_start_ms), (None, None));
        assert_eq!(options.priority, MIDDLE_PRIORITY);
    }

    #[test]
    fn intervals_reach_the_policy() {
        let meta = Meta::new("charge").initial_interval(Duration::from_millis(10)).max_interval(Duration::from_secs(1));
        let policy = meta.retry_policy();
        assert_eq!((policy.initial_interval_ms, policy.maximum_interval_ms), (10, Some(1_000)));
    }
}
